import ArgumentParser
import Lab

/// `fdbsteer-bench watch`.
struct WatchCommand: ParsableCommand {
    /// A part of the bench.
    enum Part: String, CaseIterable, ExpressibleByArgument, Sendable {
        case drift, removal, scale, scrape, storms
    }

    static let configuration = CommandConfiguration(
        commandName: "watch",
        abstract: "What fdbsteerd repairs, how soon, and what it costs.",
        discussion: """
            Starts the fdbsteerd beside this bench in network namespaces of its own, one a part. Needs root. Nothing outside \
            the namespaces is touched. drift: stolen entries, with and without a storm of unrelated changes, and forced \
            overruns. removal: the primary port goes away under traffic. scale: many guests. scrape: redirections and repairs \
            beside thousands of scrapes a second. storms: a guest that does without end what a guest can do. With --check every number that is not given is small.
            """)

    @Option(name: .long, help: "Measure this part only; may be repeated. Default: all.")
    var part: [Part] = []
    @Option(help: "Thefts with a storm, and as many without, for one guest and for a hundred. Default: 1000.")
    var thefts: Int?
    @Option(help: "Changes a second of entries that are nobody's.")
    var storm = 20_000
    @Option(help: "Forced overruns. Default: 20.")
    var overruns: Int?
    @Option(help: "Removals of the primary with fdbsteerd, by nomaster. Default: 100.")
    var removals: Int?
    @Option(help: "Removals of each other kind. Default: 20.")
    var otherRemovals: Int?
    @Option(help: "Frames a second during removals.")
    var rate = 100_000
    @Option(help: "Guests of the scale part. Default: 1000.")
    var guests: Int?
    @Option(help: "Addresses of each of them. Default: 32.")
    var addresses: Int?
    @Option(help: "Guests of a bridge, two ports each: 500 at most. What prepare reads grows with ports times entries.")
    var bridgeGuests = 125
    @Option(help: "Seconds of idleness. Default: 60.")
    var idle: Int?
    @Option(help: "Scrapes of the scale part. Default: 1000.")
    var scrapes: Int?
    @Option(help: "Requests a second of the scrape part.")
    var requests = 5000
    @Option(help: "Switches beside scrapes, and as many without. Default: 100.")
    var switches: Int?
    @Option(help: "Seconds of each storm of a guest's own doing, more than 5. Default: 300.")
    var stormSeconds: Int?
    @Flag(help: "Exit with 1 for a repair that nothing called for, a guest that was not repaired, or a wrong entry.")
    var check = false
    @Option(name: .long, help: "Write the results as JSON.", transform: TextFile.writable)
    var json: String?

    func validate() throws {
        let counts = [thefts, overruns, removals, otherRemovals, guests, scrapes, switches]
        guard counts.allSatisfy({ $0.map { $0 > 0 } ?? true }), idle ?? 0 >= 0 else {
            throw ValidationError("counts are at least 1, and --idle 0")
        }
        guard (6...86400).contains(stormSeconds ?? 6) else {
            throw ValidationError("--storm-seconds goes from 6 to 86400")
        }
        guard (1...256).contains(addresses ?? 32), guests ?? 1 <= 10_000,
            (1...500).contains(bridgeGuests)
        else {
            throw ValidationError("--addresses goes from 1 to 256, --guests to 10000, --bridge-guests to 500")
        }
        guard (1000...1_000_000).contains(rate), (1...200_000).contains(storm), (1...100_000).contains(requests) else {
            throw ValidationError(
                "--rate goes from 1000 to 1000000, --storm from 1 to 200000, --requests from 1 to 100000")
        }
    }

    func run() throws {
        let scratch = try TemporaryFolder(parent: nil)
        let path = scratch.path
        defer { scratch.remove() }
        try StartedProcesses.watch(removing: scratch)
        var report = WatchReport()
        for part in Part.allCases where self.part.isEmpty || self.part.contains(part) {
            try measure(part, in: path, into: &report)
        }
        print(report.text)
        if let json { try TextFile.write(json: report, to: json) }
        guard !report.complaints.isEmpty else { return }
        for complaint in report.complaints { print("wrong: \(complaint)") }
        if check { throw ExitCode(1) }
    }

    private func measure(_ part: Part, in path: String, into report: inout WatchReport) throws {
        let check = check
        func count(_ given: Int?, _ usual: Int, _ small: Int) -> Int { given ?? (check ? small : usual) }
        switch part {
        case .drift:
            let drift = WatchDrift(thefts: count(thefts, 1000, 60), rate: storm)
            for guests in [1, 100] {
                try apart(path, "drift\(guests)", &report) { try drift.run(guests: guests, folder: $0, into: &$1) }
            }
            let overruns = WatchOverruns(rounds: count(overruns, 20, 4), rate: storm)
            try apart(path, "overruns", &report) { try overruns.run(folder: $0, into: &$1) }
        case .removal:
            let removal = WatchRemoval(
                removals: count(removals, 100, 4), otherRemovals: count(otherRemovals, 20, 2), rate: rate)
            try apart(path, "removal", &report) { try removal.run(folder: $0, into: &$1) }
        case .scale:
            let scale = WatchScale(
                guests: count(guests, 1000, 50), addresses: count(addresses, 32, 8), guestsPerBridge: bridgeGuests,
                idleSeconds: count(idle, 60, 1),
                scrapes: count(scrapes, 1000, 50), resyncs: check ? 2 : 10, rate: storm)
            try apart(path, "scale", &report) { try scale.run(folder: $0, into: &$1) }
        case .scrape:
            let scrape = WatchScrape(requests: requests, switches: count(switches, 100, 10))
            try apart(path, "scrape", &report) { try scrape.run(folder: $0, into: &$1) }
        case .storms:
            let storms = WatchGuestStorms(seconds: count(stormSeconds, 300, 10))
            for kind in GuestStorm.Kind.allCases {
                try apart(path, "storm-\(kind)", &report) { try storms.run(kind, folder: $0, into: &$1) }
            }
        }
    }

    /// Runs a part in its own namespace and folder.
    private func apart(
        _ path: String, _ name: String, _ report: inout WatchReport,
        _ body: @escaping @Sendable (String, inout WatchReport) throws -> Void
    ) throws {
        let folder = path + "/" + name
        try Command.script("mkdir \(folder)")
        let before = report
        report = try Namespace.run {
            var report = before
            try body(folder, &report)
            return report
        }
    }
}
