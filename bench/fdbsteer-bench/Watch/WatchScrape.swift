import Controller
import Glibc
import JSON
import Lab
import Policy
import Synchronization
import System

/// Measures whether thousands of scrapes delay a redirection or a repair.
struct WatchScrape {
    /// One line of the result.
    struct Row: Encodable, Sendable {
        let what: String
        let isLoaded: Bool
        let offeredRequests: Int
        /// Answers a second while the load was on.
        let servedRequests: Int
        let spread: WatchSpread
        /// The median of the blocks' ratios to the preceding block without load, and the least and greatest ratio.
        let ratio: Double?
        let ratioMin: Double?
        let ratioMax: Double?

        var ratioText: String {
            guard let ratio, let ratioMin, let ratioMax else { return "" }
            func hundredths(_ value: Double) -> String { "\(Double(Int((value * 100).rounded())) / 100)" }
            return "\(hundredths(ratio)) (\(hundredths(ratioMin)) to \(hundredths(ratioMax)))"
        }
    }

    /// Requests a second.
    let requests: Int
    /// The number of switches with the load, and without.
    let switches: Int

    private static let perBlock = 10
    private static let kinds = ["fdbsteer switch, process", "fdbsteer switch, move", "theft to repair"]

    /// The measurements of one block, by kind.
    private typealias Block = [[Int64]]

    /// Measures in its own namespace and adds to the report.
    func run(folder: String, into report: inout WatchReport) throws {
        let binary = try OwnProgram.sibling("fdbsteer")
        let lab = try WatchLab(guests: 2, addresses: 4, folder: folder)
        let daemon = try WatchedDaemon(folder: folder, configuration: WatchDrift.configuration)
        defer { daemon.stop() }
        let load = try ScrapeLoad(port: WatchedDaemon.port, rate: requests)
        defer { load.stop() }
        var blocks: [[Block]] = [[], []]
        let count = max(1, switches / Self.perBlock)
        for _ in 0..<count {
            for isLoaded in [false, true] {
                load.isOn = isLoaded
                usleep(300_000)
                blocks[isLoaded ? 1 : 0].append(try block(lab, binary: binary))
            }
        }
        load.stop()
        for (kind, name) in Self.kinds.enumerated() {
            let ratios = zip(blocks[0], blocks[1]).map { quiet, loaded in
                WatchSpread(loaded[kind]).p50Us / max(0.001, WatchSpread(quiet[kind]).p50Us)
            }.sorted()
            for isLoaded in [false, true] {
                report.scrape.append(
                    Row(
                        what: name, isLoaded: isLoaded, offeredRequests: requests, servedRequests: load.served,
                        spread: WatchSpread(blocks[isLoaded ? 1 : 0].flatMap { $0[kind] }),
                        ratio: isLoaded ? ratios[ratios.count / 2] : nil, ratioMin: isLoaded ? ratios.first : nil,
                        ratioMax: isLoaded ? ratios.last : nil))
            }
        }
        let what = "\(requests) scrapes a second"
        if load.failures > 0 { report.complaints.append("\(what): \(load.failures) were not answered by 200") }
        report.complaints += try WatchDrift.judge(lab, daemon, repairs: 2 * count * Self.perBlock, what: what)
    }

    /// Ten switches of one guest, alternating between its sides, and ten thefts of another guest.
    private func block(_ lab: WatchLab, binary: String) throws -> Block {
        var block: Block = [[], [], []]
        let environment = ["FDBSTEER_STATE": lab.folder]
        for number in 0..<Self.perBlock {
            let words = [binary, "switch", lab.guests[0].id.text, "--to", number % 2 == 0 ? "standby" : "primary"]
            let begin = monotonicNanoseconds()
            let running = try RunningCommand(words + ["--json"], environment: environment)
            let command = running.wait()
            block[0].append(monotonicNanoseconds() - begin)
            guard command.exitCode == 0 else { throw LabError("\(words): \(command.errors)\(command.output)") }
            guard let move = JSON(text: command.output)?["timings"]?["move_ns"]?.integer else {
                throw LabError("\(words): no time in \(command.output)")
            }
            block[1].append(move)
        }
        let guest = lab.guests[1]
        let ear = try WatchEar(Set(guest.addresses))
        for _ in 0..<Self.perBlock {
            let pause = monotonicNanoseconds() + Int64.random(in: 11_000_000..<20_000_000)
            _ = try ear.listen(until: pause) { _ in false }
            guard let address = guest.addresses.randomElement() else { break }
            guard let times = try ear.steal(address, of: guest, in: lab) else {
                throw LabError("a theft was not repaired within 5 s")
            }
            block[2].append(times.heard)
        }
        return block
    }
}

/// Scrapes at a steady rate on connections that stay open, while it is on; on its own thread.
final class ScrapeLoad {
    private final class Shared: Sendable {
        let isOn = Atomic(false)
        let stop = Atomic(false)
        let answers = Atomic<Int>(0)
        let failures = Atomic<Int>(0)
        let nanoseconds = Atomic<Int64>(0)
    }

    private let shared = Shared()
    private var thread: LabThread?
    private static let connections = 16

    /// - Parameters:
    ///   - port: the port of a server on this namespace's loopback.
    ///   - rate: requests a second.
    init(port: Int, rate: Int) throws {
        let shared = shared
        thread = try Namespace.thread {
            do {
                try ScrapeLoad.run(shared, port: port, rate: rate)
            } catch {
                shared.failures.wrappingAdd(1, ordering: .relaxed)
            }
        }
    }

    /// Whether it sends requests.
    var isOn: Bool {
        get { shared.isOn.load(ordering: .relaxed) }
        set { shared.isOn.store(newValue, ordering: .relaxed) }
    }

    /// Answers other than 200, and connections that ended.
    var failures: Int { shared.failures.load(ordering: .relaxed) }

    /// Answers a second while it was on.
    var served: Int {
        let seconds = Double(shared.nanoseconds.load(ordering: .relaxed)) / 1e9
        return seconds > 0 ? Int(Double(shared.answers.load(ordering: .relaxed)) / seconds) : 0
    }

    /// Stops the load.
    func stop() {
        shared.stop.store(true, ordering: .relaxed)
        thread?.join()
        thread = nil
    }

    private static func run(_ shared: Shared, port: Int, rate: Int) throws {
        let connections = try (0..<ScrapeLoad.connections).map { _ in try HTTPConnection(port: port) }
        var isWaiting = [Bool](repeating: false, count: connections.count)
        var begin: Int64?
        var sent = 0
        while !shared.stop.load(ordering: .relaxed) {
            let now = monotonicNanoseconds()
            if shared.isOn.load(ordering: .relaxed) {
                let since = begin ?? now
                begin = since
                let due = Int(Double(now - since) * Double(rate) / 1e9)
                for (index, connection) in connections.enumerated() where !isWaiting[index] && sent < due {
                    connection.request("/metrics")
                    isWaiting[index] = true
                    sent += 1
                }
            } else if let since = begin {
                shared.nanoseconds.wrappingAdd(now - since, ordering: .relaxed)
                (begin, sent) = (nil, 0)
            }
            var polled = connections.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
            guard poll(&polled, nfds_t(polled.count), 1) > 0 else { continue }
            for (index, state) in polled.enumerated() where state.revents != 0 {
                guard try connections[index].receive() else { throw LabError("the server closed a connection") }
                guard let answer = connections[index].takeAnswer() else { continue }
                isWaiting[index] = false
                shared.answers.wrappingAdd(1, ordering: .relaxed)
                if answer.status != 200 { shared.failures.wrappingAdd(1, ordering: .relaxed) }
            }
        }
        if let since = begin { shared.nanoseconds.wrappingAdd(monotonicNanoseconds() - since, ordering: .relaxed) }
    }
}
