/// SplitMix64: the same numbers for the same words, on every machine.
struct ChaosRandom: RandomNumberGenerator {
    private var state: UInt64 = 0

    /// - Parameter words: what the numbers follow from.
    init(_ words: UInt64...) {
        for word in words {
            state ^= word
            state = next()
        }
    }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    /// One of these.
    mutating func one<T>(of choices: [T]) -> T { choices[Int.random(in: 0..<choices.count, using: &self)] }

    /// The number of a guest.
    mutating func guest() -> Int { Int.random(in: 0..<5, using: &self) }

    /// True once in so many times.
    mutating func onceIn(_ times: Int) -> Bool { Int.random(in: 0..<times, using: &self) == 0 }
}

/// One thing that is done to a world. It is chosen before the world exists; what it names may be missing by then, and it then
/// does nothing.
struct ChaosOperation {
    /// The family and what is done, for counts: `port rename`.
    let kind: String
    /// Whether a kind, or the family that is its first word, is its own.
    func isOf(_ name: String) -> Bool { kind == name || kind.hasPrefix(name + " ") }
    /// The whole of it, for people: `port rename vm1's standby`.
    let words: String
    /// Does it. It throws a ``ChaosViolation`` when a process misbehaves.
    let act: (ChaosWorld) throws -> Void
}

/// A family of operations.
struct ChaosFamily: Sendable {
    /// How often it is chosen, beside the others.
    let weight: Int
    /// Chooses one of its operations.
    let choose: @Sendable (inout ChaosRandom) -> ChaosOperation

    /// All families. The order is part of what a seed means.
    static let all = [
        ChaosVerbs.family, ChaosWaits.family, ChaosKills.family, ChaosPorts.family, ChaosBridges.family,
        ChaosVLANs.family, ChaosOthers.family, ChaosFrames.family, ChaosMonitors.family, ChaosDaemons.family,
        ChaosFolders.family,
    ]

    /// The operations of an episode. Each follows from its own number alone, so the rest stays the same when some are left out.
    static func operations(seed: UInt64, episode: Int, count: Int) -> [ChaosOperation] {
        (0..<count).map { number in
            var random = ChaosRandom(seed, UInt64(episode), UInt64(number))
            var mark = Int.random(in: 0..<all.reduce(0) { $0 + $1.weight }, using: &random)
            for family in all {
                if mark < family.weight { return family.choose(&random) }
                mark -= family.weight
            }
            return all[0].choose(&random)
        }
    }
}

/// Something that must always hold did not.
struct ChaosViolation: Error {
    /// The rules, by the names of docs/chaos.md.
    enum Rule: String, Encodable, CaseIterable {
        case entry, foreign, bound, crash, silence, code, release, reachable, leftover, daemon
    }

    let rule: Rule
    let text: String
}
