import ArgumentParser
import Glibc
import Lab
import LossMeter
import System

/// `fdbsteer-bench chaos`.
struct ChaosCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chaos",
        abstract: "Does random things to guests, ports, processes and folders, and checks what must always hold.",
        discussion: """
            Runs the fdbsteer and fdbsteerd beside this bench in network and mount namespaces of its own. Needs root. Nothing \
            outside them is touched. Exits with 1 when a rule did not hold, and prints the seed and the shortest sequence \
            of operations with which it did not hold again. docs/chaos.md has the operations and the rules.
            """)

    @Option(help: "How long, without the time for reducing what failed.")
    var minutes = 2.0
    @Option(help: "What is done follows from this number. Default: a random one, which is printed.")
    var seed: UInt64?
    @Option(help: "Operations of an episode; each has a world of its own.")
    var length = 40
    @Option(help: "Run this episode only, once.")
    var episode: Int?
    @Option(help: "With --episode: these of its operations only, by number: 3,7,12.")
    var only: String?
    @Option(help: "Seconds for making a failing sequence shorter; 0: print it as it is.")
    var reduce = 120.0
    @Option(help: "Go on after so many violations of different rules or operations.")
    var violations = 1
    @Option(
        name: .customLong("without"),
        help: "Leave out operations: a kind, as the table names it, or a family; may be repeated.")
    var without: [String] = []
    @Flag(help: "With --episode: print everything that was done, and what the processes said.")
    var transcript = false
    @Option(name: .long, help: "Write the results as JSON.", transform: TextFile.writable)
    var json: String?

    func validate() throws {
        guard minutes > 0, reduce >= 0, (1...100_000).contains(length), violations > 0 else {
            throw ValidationError(
                "--minutes and --violations are above 0, --reduce is at least 0, --length goes from 1 to 100000")
        }
        guard only == nil || episode != nil else { throw ValidationError("--only needs --episode") }
        guard try steps().allSatisfy((0..<length).contains) else {
            throw ValidationError("--only names operations from 0 to \(length - 1)")
        }
    }

    private func steps() throws -> [Int] {
        guard let only else { return Array(0..<length) }
        return try only.split(separator: ",").map {
            guard let number = Int($0) else { throw ValidationError("--only: \($0) is no number") }
            return number
        }
    }

    func run() throws {
        let scratch = try TemporaryFolder(parent: nil)
        defer { scratch.remove() }
        try StartedProcesses.watch(removing: scratch)
        let seed = seed ?? UInt64.random(in: 1...999_999_999)
        print("seed \(seed)")
        var report = ChaosReport(seed: seed)
        let begin = monotonicNanoseconds()
        let end = begin + Int64(minutes * 60e9)
        var number = episode ?? 0
        repeat {
            let episode = ChaosEpisode(seed: seed, number: number, length: length)
            let folder = try TemporaryFolder(parent: scratch.path)
            let operations = episode.operations
            let steps = try steps().filter { number in !without.contains { operations[number].isOf($0) } }
            let outcome = try episode.run(steps, in: folder.path, until: self.episode == nil ? end : nil)
            folder.remove()
            report.add(outcome)
            if transcript { print(outcome.transcript.joined(separator: "\n")) }
            if let violation = outcome.violation {
                print("episode \(number): \(violation.rule): \(violation.text)\n")
                let done = violation.step.map { step in steps.filter { $0 <= step } } ?? steps
                try report.add(shorten(episode, done, violation, scratch))
            }
            number += 1
        } while episode == nil && monotonicNanoseconds() < end && report.violations.count < violations
        report.seconds = Double(monotonicNanoseconds() - begin) / 1e9
        print(report.text)
        if let json { try TextFile.write(json: report, to: json) }
        if !report.violations.isEmpty { throw ExitCode(1) }
    }

    private func shorten(
        _ episode: ChaosEpisode, _ steps: [Int], _ violation: (rule: ChaosViolation.Rule, text: String, step: Int?),
        _ scratch: TemporaryFolder
    ) throws -> ChaosReport.Violation {
        let reducer = ChaosReducer(
            episode: episode, rule: violation.rule, scratch: scratch,
            end: monotonicNanoseconds() + Int64(self.reduce * 1e9))
        let reduced = self.reduce > 0 ? try reducer.reduce(steps) : (steps: steps, outcome: nil, runs: 0)
        let operations = episode.operations
        return ChaosReport.Violation(
            rule: violation.rule, text: reduced.outcome?.violation?.text ?? violation.text, episode: episode.number,
            length: length, operations: steps.count, steps: reduced.steps,
            words: reduced.steps.map { operations[$0].words }, isReproduced: reduced.outcome != nil, runs: reduced.runs,
            transcript: reduced.outcome?.transcript ?? [])
    }
}

/// What came of a run.
struct ChaosReport: Encodable {
    /// A rule that did not hold.
    struct Violation: Encodable {
        let rule: ChaosViolation.Rule
        let text: String
        let episode: Int
        let length: Int
        /// Operations before it was reduced.
        let operations: Int
        let steps: [Int]
        let words: [String]
        /// It happened again in a run of the same operations.
        let isReproduced: Bool
        let runs: Int
        let transcript: [String]
    }

    let seed: UInt64
    var seconds = 0.0
    private(set) var episodes = 0
    private(set) var operations: [String: Int] = [:]
    private(set) var processes = 0
    private(set) var skipped: [String] = []
    private(set) var violations: [Violation] = []
    /// How often each rule did not hold.
    private(set) var rules = Dictionary(uniqueKeysWithValues: ChaosViolation.Rule.allCases.map { ($0.rawValue, 0) })

    init(seed: UInt64) { self.seed = seed }

    mutating func add(_ outcome: ChaosEpisode.Outcome) {
        episodes += 1
        operations.merge(outcome.counts, uniquingKeysWith: +)
        processes += outcome.processes
        skipped = Set(skipped).union(outcome.skipped).sorted()
    }

    mutating func add(_ violation: Violation) {
        violations.append(violation)
        rules[violation.rule.rawValue, default: 0] += 1
    }

    /// For people.
    var text: String {
        let rows = operations.sorted { $0.key < $1.key }.map { [$0.key, "\($0.value)"] }
        var lines = [TextTable.aligned([["OPERATION", "TIMES"]] + rows, numbersFrom: 1)]
        lines += skipped.map { "SKIPPED: \($0)" }
        for violation in violations {
            let steps = violation.steps.map(String.init).joined(separator: ",")
            lines.append("\nVIOLATED: \(violation.rule): \(violation.text)")
            if !violation.transcript.isEmpty { lines.append(violation.transcript.suffix(40).joined(separator: "\n")) }
            lines.append(
                violation.isReproduced
                    ? "shortest sequence (\(violation.steps.count) of \(violation.operations) operations, \(violation.runs) runs):"
                    : "it did not happen again in \(violation.runs) runs of the same operations:")
            lines += zip(violation.steps, violation.words).map { "  \($0) \($1)" }
            lines.append(
                "  fdbsteer-bench chaos --seed \(seed) --length \(violation.length) --episode \(violation.episode) "
                    + "--only \(steps) --transcript")
        }
        let count = operations.values.reduce(0, +)
        lines.append(
            "\nseed \(seed): \(count) operations in \(episodes) episodes and \(Int(seconds)) s, \(processes) processes, "
                + "\(violations.count) violation\(violations.count == 1 ? "" : "s")")
        return lines.joined(separator: "\n")
    }
}
