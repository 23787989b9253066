import ArgumentParser
import Lab

/// `fdbsteer-bench scale`.
struct ScaleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scale",
        abstract: "Evacuates a host's guests to their standbys and back, and shows what others notice of it.",
        discussion: """
            Runs in a network namespace of its own; needs root. Bridges take 1,023 ports each, so that there are as many \
            bridges as the guests need. It measures the evacuation, the frames of a guest that is not touched, and how long \
            another guest's switch takes at rest and meanwhile, by the whole switch and by its netlink message alone.
            """)

    @Option(help: "Guests.")
    var guests = 1000
    @Option(help: "Addresses of each.")
    var addresses = 32
    @Option(help: "Frames a second to the guest that is not touched.")
    var rate = 5000
    @Option(help: "Evacuations, there and back.")
    var rounds = 2
    @Option(name: .long, help: "Write the results as JSON.", transform: TextFile.writable)
    var json: String?

    func validate() throws {
        guard (1...2000).contains(guests), (1...256).contains(addresses), (100...50_000).contains(rate),
            (1...100).contains(rounds)
        else {
            throw ValidationError("--guests 1 to 2000, --addresses 1 to 256, --rate 100 to 50000, --rounds 1 to 100")
        }
    }

    func run() throws {
        let options = self
        let scratch = try TemporaryFolder.goneWhenInterrupted()
        defer { scratch.remove() }
        var machine = Machine()
        let outcome = try Namespace.run { try ScaleRun(options, state: scratch.path).run() }
        machine.end()
        print(outcome.text)
        print(machine.text)
        if let json { try TextFile.write(json: ScaleReport(machine: machine, scale: outcome), to: json) }
    }
}

/// The JSON output.
struct ScaleReport: Encodable {
    let machine: Machine
    let scale: ScaleOutcome
}

/// The results of the scale bench; durations are in microseconds unless the name says otherwise.
struct ScaleOutcome: Encodable, Sendable {
    /// The latencies of a repeated operation.
    struct Latency: Encodable, Sendable {
        let what: String
        let samples: Int
        let usP50: Double
        let usP99: Double
        let usMax: Double

        init(_ what: String, _ nanoseconds: [Int64]) {
            let values = nanoseconds.map { Double($0) / 1000 }
            self.what = what
            samples = values.count
            usP50 = Figure.quantile(0.5, of: values)
            usP99 = Figure.quantile(0.99, of: values)
            usMax = values.max() ?? 0
        }
    }

    let guests: Int
    let entries: Int
    let bridges: Int
    /// The duration of each evacuation in milliseconds, there and back in turn, with journal, evidence and history.
    let evacuationMs: [Double]
    /// The median time in milliseconds in which one transaction moves the same entries and nothing else happens.
    let entriesAloneMs: Double
    /// Frames to the guest that does not move.
    let frames: Int
    let lost: Int
    let duplicated: Int
    /// The tester lost frames itself.
    let isVoid: Bool
    let latencies: [Latency]

    var text: String {
        let way = evacuationMs.map(Figure.text).joined(separator: ", ")
        let lines = latencies.map {
            "  \($0.what): p50 \(Figure.text($0.usP50)), p99 \(Figure.text($0.usP99)), most \(Figure.text($0.usMax)) us "
                + "(n=\($0.samples))"
        }
        return """
            \(guests) guests, \(entries) entries, \(bridges) bridges
            evacuations, there and back: \(way) ms; the entries alone: \(Figure.text(entriesAloneMs)) ms
            a guest that is not touched, meanwhile: \(frames) frames, \(lost) lost, \(duplicated) duplicated\
            \(isVoid ? " (void: the tester lost frames itself)" : "")
            another guest's switch:
            \(lines.joined(separator: "\n"))
            """
    }
}
