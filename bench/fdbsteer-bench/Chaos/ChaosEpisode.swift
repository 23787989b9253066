import Glibc
import Lab
import System

/// Some operations on a world of its own.
struct ChaosEpisode: Sendable {
    /// What came of it.
    struct Outcome: Sendable {
        /// The operations that were done, by kind.
        var counts: [String: Int] = [:]
        var processes = 0
        var skipped: Set<String> = []
        /// The rule that did not hold, why, and after which operation; nil: the end.
        var violation: (rule: ChaosViolation.Rule, text: String, step: Int?)?
        var transcript: [String] = []
    }

    let seed: UInt64
    let number: Int
    let length: Int

    /// The operations by their numbers.
    var operations: [ChaosOperation] { ChaosFamily.operations(seed: seed, episode: number, count: length) }

    /// Does some of the operations, checks everything after each, gives back, and checks again.
    ///
    /// - Parameters:
    ///   - steps: the numbers of the operations.
    ///   - folder: an empty folder on a tmpfs.
    ///   - end: the monotonic time after which no further operation begins; nil for none.
    /// - Throws: ``LabError`` when the bench itself fails.
    func run(_ steps: [Int], in folder: String, until end: Int64? = nil) throws -> Outcome {
        try Namespace.run(ownMounts: true) {
            var outcome = Outcome()
            let world = try ChaosWorld(folder: folder)
            var step: Int?
            do {
                let operations = operations
                for number in steps {
                    if let end, monotonicNanoseconds() > end { break }
                    step = number
                    let operation = operations[number]
                    world.note("\(number): \(operation.words)")
                    try operation.act(world)
                    outcome.counts[operation.kind, default: 0] += 1
                    try ChaosRules.check(world, isThorough: number % 8 == 0)
                    ChaosFolders.age(world)
                }
                step = nil
                world.note("end: everything is released")
                try ChaosRules.checkClosed(world)
            } catch let violation as ChaosViolation {
                outcome.violation = (violation.rule, violation.text, step)
                world.note("VIOLATION \(violation.rule): \(violation.text)")
            }
            // The monitors may be sending to it.
            _ = world.daemon?.end(by: SIGKILL, within: 1)
            for monitor in world.monitors { monitor.end() }
            outcome.processes = world.processes
            outcome.skipped = world.skipped
            outcome.transcript = world.transcript
            return outcome
        }
    }
}

/// Makes a failing sequence shorter by running parts of it again: delta debugging
/// (Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input, 2002).
struct ChaosReducer {
    let episode: ChaosEpisode
    /// The rule that has to be violated again.
    let rule: ChaosViolation.Rule
    let scratch: TemporaryFolder
    /// The monotonic time after which what has been reached is returned.
    let end: Int64

    /// - Returns: the shortest sequence that still fails, its run, and how many runs that took. Without a run the sequence did
    ///   not fail again, not even once: it needs a moment that does not come back by itself.
    func reduce(_ failing: [Int]) throws -> (steps: [Int], outcome: ChaosEpisode.Outcome?, runs: Int) {
        var steps = failing
        var last: ChaosEpisode.Outcome?
        var runs = 0
        func fails(_ part: [Int]) throws -> Bool {
            let folder = try TemporaryFolder(parent: scratch.path)
            defer { folder.remove() }
            runs += 1
            let outcome = try episode.run(part, in: folder.path)
            guard outcome.violation?.rule == rule else { return false }
            last = outcome
            return true
        }
        // Kills and signals come at their own time: a failure that needs one is tried a few times.
        guard try (0..<3).contains(where: { _ in try fails(steps) }) else { return (steps, nil, runs) }
        var parts = 2
        while steps.count > 1, monotonicNanoseconds() < end {
            let size = (steps.count + parts - 1) / parts
            var isShorter = false
            for begin in stride(from: 0, to: steps.count, by: size) {
                guard monotonicNanoseconds() < end else { break }
                let rest = Array(steps[..<begin] + steps[min(begin + size, steps.count)...])
                guard !rest.isEmpty, try fails(rest) else { continue }
                steps = rest
                parts = max(parts - 1, 2)
                isShorter = true
                break
            }
            if isShorter { continue }
            if size == 1 { break }
            parts = min(parts * 2, steps.count)
        }
        return (steps, last, runs)
    }
}
