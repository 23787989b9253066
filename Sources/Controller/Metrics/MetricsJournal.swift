import Exposition
import Policy
import Records
import Switchdev

/// What the journal says of one guest, as far as it is counted.
struct GuestTally: Hashable, Sendable {
    let row: Int64
    let side: Side
    var phase: GuestPhase
    let proof: OffloadProof.Status
    /// Prepared before the last reboot.
    let isStale: Bool
    /// How many addresses it has.
    let addresses: Int64
    /// The record's.
    let revision: Int64

    /// The guests of a journal's network namespace, counted by one statement: a scrape must not keep a writer waiting.
    static func all(in journal: Journal) throws(ControllerError) -> [GuestTally] {
        try journal.rowsOfTallies().compactMap { row in
            guard let number = row.integer(0), let side = row.text(1).flatMap(Side.init),
                let phase = row.text(2).flatMap(GuestPhase.init)
            else { return nil }
            return GuestTally(
                row: number, side: side, phase: phase,
                proof: row.text(3).flatMap(OffloadProof.Status.init) ?? .missing, isStale: row.text(4) != journal.boot,
                addresses: row.integer(5) ?? 0, revision: row.integer(6) ?? 0)
        }
    }
}

/// What the journal amounts to.
struct JournalTotals: Hashable, Sendable {
    /// How a guest stands.
    enum State: String, CaseIterable {
        case pinned, preparing, switching, releasing
        /// Something is under way, and the process that was at it is gone.
        case interrupted
        /// Prepared before the last reboot, which emptied the bridge's table.
        case stale
    }

    /// Guests whose entries are this boot's, by side.
    private var guests: [Side: Int64] = [:]
    private var states: [State: Int64] = [:]
    private var entries: [EntryState: Int64] = [:]
    private var unproven: Int64 = 0

    private enum EntryState: String, CaseIterable {
        case pinned, changing, stale
    }

    /// - Parameters:
    ///   - intents: what is about to be done and not in the tallies.
    ///   - isLocked: whether a live process is at the guest of this row.
    init(_ tallies: [GuestTally], intents: Journal.Intents = .init(), isLocked: (Int64) -> Bool) {
        for var tally in tallies {
            if let intent = intents[tally.row, revision: tally.revision] { tally.phase = intent.phase }
            let state: State
            if tally.isStale {
                state = .stale
            } else if tally.phase == .pinned {
                state = .pinned
            } else if !isLocked(tally.row) {
                state = .interrupted
            } else {
                state = State(rawValue: tally.phase.rawValue) ?? .interrupted
            }
            states[state, default: 0] += 1
            let entry: EntryState
            switch state {
            case .stale: entry = .stale
            case .pinned: entry = .pinned
            default: entry = .changing
            }
            entries[entry, default: 0] += tally.addresses
            guard state != .stale else { continue }
            guests[tally.side, default: 0] += 1
            if state == .pinned, tally.proof == .missing { unproven += tally.addresses }
        }
    }

    /// The families made of it, with a sample for every label value.
    var families: [MetricFamily] {
        var sides = MetricFamily(
            "fdbsteer_guest_interfaces", .gauge,
            help:
                "Prepared guest interfaces by the side that they are on; while a redirection runs, the side before it.",
            labels: ["side"])
        for side in Side.allCases { sides.set(guests[side] ?? 0, side.rawValue) }
        var phases = MetricFamily(
            "fdbsteer_guest_states", .gauge,
            help:
                "Guest interfaces by what is under way: pinned is nothing; interrupted: its process is gone, abort or "
                + "reconcile ends it; stale: prepared before the last reboot.",
            labels: ["state"])
        for state in State.allCases { phases.set(states[state] ?? 0, state.rawValue) }
        var table = MetricFamily(
            "fdbsteer_entries", .gauge,
            help:
                "Bridge table entries that the journal holds for guests: pinned, changing in a redirection, or stale since "
                + "the last reboot.",
            labels: ["state"])
        for state in EntryState.allCases { table.set(entries[state] ?? 0, state.rawValue) }
        var doubtful = MetricFamily(
            "fdbsteer_entries_unproven", .gauge,
            help: "Pinned entries of guests with a port on a switch where nothing showed that hardware followed.")
        doubtful.set(unproven)
        return [sides, phases, table, doubtful]
    }
}
