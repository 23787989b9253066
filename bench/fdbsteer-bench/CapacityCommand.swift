import ArgumentParser
import Glibc
import LossMeter

/// A model of hosts that are larger than any here: how long an evacuation takes where a switch's ASIC is what limits, and how
/// long one more guest's redirection waits behind it.
///
/// The controller hands a guest's entries to the kernel, and the driver's queue hands them to the ASIC one after the other, in
/// the order in which they came. A guest is redirected when the ASIC has taken its last entry. The times that the controller
/// and the kernel need are measured ones (`scale`, `throughput`); the ASIC's rate is an assumption.
struct CapacityCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "capacity",
        abstract: "A model: evacuations of larger hosts, by the rate of a switch's ASIC.",
        discussion: """
            Changes nothing and needs no root. Guests are evacuated all at once, or so many at a time, the next one when the ASIC
            has taken the last entry of one of those (fdbsteer switch --require-proof, one after the other: 1). Meanwhile other
            guests are redirected at random moments. The ASIC takes exponentially distributed times for an entry.
            """)

    @Option(help: "Guests.")
    var guests: [Int] = [1000, 10_000, 15_625]

    @Option(help: "Addresses of each.")
    var addresses = 32

    @Option(help: "Entries a second that the ASIC takes.")
    var asicRates: [Int] = [2000, 10_000, 100_000]

    @Option(help: "Guests on their way at a time; 0: all.")
    var windows: [Int] = [0, 8, 1]

    @Option(help: "Microseconds of a switch without its netlink messages: journal, reads, history.")
    var guestUs = 600

    @Option(help: "Microseconds of a netlink message.")
    var messageUs = 1.0

    @Option(help: "Redirections of other guests during an evacuation; each is reckoned 20 times.")
    var others = 50

    @Option(help: "Write the results as JSON.")
    var json: String?

    func validate() throws {
        let counts = guests + asicRates + [addresses, others]
        guard counts.allSatisfy({ (1...10_000_000).contains($0) }), windows.allSatisfy({ $0 >= 0 }), guestUs >= 0,
            messageUs >= 0
        else { throw ValidationError("numbers are positive, and --windows 0 or more") }
        guard guests.allSatisfy({ $0 * addresses <= 10_000_000 }) else {
            throw ValidationError("guests by addresses: 10,000,000 at most")
        }
    }

    func run() throws {
        let rows = guests.flatMap { count in
            asicRates.flatMap { rate in
                windows.map { window in
                    CapacityModel(
                        guests: count, addresses: addresses, asicRate: Double(rate),
                        window: window == 0 ? count : window,
                        guestSeconds: Double(guestUs) / 1e6, messageSeconds: messageUs / 1e6
                    ).run(others: others)
                }
            }
        }
        let header = [
            "guests", "entries", "ASIC entries/s", "at a time", "evacuation s", "another: p50 ms", "p99 ms", "max ms",
        ]
        func tenths(_ value: Double) -> String { WatchReport.tenths(value) }
        print(
            TextTable.aligned(
                [header]
                    + rows.map {
                        [
                            "\($0.guests)", "\($0.entries)", "\($0.asicRate)",
                            $0.window == $0.guests ? "all" : "\($0.window)",
                            tenths($0.evacuationSeconds), tenths($0.otherP50Ms), tenths($0.otherP99Ms),
                            tenths($0.otherMaxMs),
                        ]
                    }))
        if let json { try Scratch.write(json: rows, to: json) }
    }
}

/// One evacuation.
struct CapacityModel {
    /// One line of the result.
    struct Row: Encodable {
        let guests: Int
        let entries: Int
        let asicRate: Int
        let window: Int
        let evacuationSeconds: Double
        let otherP50Ms: Double
        let otherP99Ms: Double
        let otherMaxMs: Double
    }

    let guests: Int
    let addresses: Int
    let asicRate: Double
    let window: Int
    let guestSeconds: Double
    let messageSeconds: Double

    private static let repetitions = 20

    /// - Parameter others: how many other guests are redirected while the evacuation lasts.
    func run(others: Int) -> Row {
        var generator = SplitMix(state: 1)
        var waits: [Double] = []
        var seconds: [Double] = []
        for _ in 0..<CapacityModel.repetitions {
            let calm = simulate(others: [], &generator).evacuation
            seconds.append(calm)
            // Arrivals are spread over what the evacuation takes by itself.
            let arrivals = (0..<others).map { _ in Double.random(in: 0..<calm, using: &generator) }.sorted()
            waits += simulate(others: arrivals, &generator).waits
        }
        waits.sort()
        seconds.sort()
        func quantile(_ share: Double) -> Double { waits[min(waits.count - 1, Int(Double(waits.count) * share))] * 1e3 }
        return Row(
            guests: guests, entries: guests * addresses, asicRate: Int(asicRate), window: window,
            evacuationSeconds: seconds[seconds.count / 2], otherP50Ms: quantile(0.5), otherP99Ms: quantile(0.99),
            otherMaxMs: quantile(1))
    }

    private func simulate(
        others: [Double], _ generator: inout SplitMix
    ) -> (evacuation: Double, waits: [Double]) {
        var asicIsFree = 0.0
        var controllerIsFree = 0.0
        var done: [Double] = []
        var waits: [Double] = []
        let writing = Double(addresses) * messageSeconds
        func take(from time: Double, _ generator: inout SplitMix) -> Double {
            var end = max(asicIsFree, time)
            for _ in 0..<addresses { end += generator.exponential(mean: 1 / asicRate) }
            return end
        }
        while done.count < guests || waits.count < others.count {
            let start = max(controllerIsFree, done.count >= window ? done[done.count - window] : 0)
            let isOthersTurn = waits.count < others.count && (done.count == guests || others[waits.count] <= start)
            if isOthersTurn {
                let arrival = others[waits.count]
                asicIsFree = take(from: arrival + guestSeconds + writing, &generator)
                waits.append(asicIsFree - arrival)
            } else {
                controllerIsFree = start + guestSeconds + writing
                asicIsFree = take(from: controllerIsFree, &generator)
                done.append(asicIsFree)
            }
        }
        return (done.last ?? 0, waits)
    }
}

/// The same numbers in each run (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    mutating func exponential(mean: Double) -> Double { -mean * log(1 - Double.random(in: 0..<1, using: &self)) }
}
