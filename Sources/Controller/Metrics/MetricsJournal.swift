import Exposition
import Policy
import Records
import Switchdev

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
    ///   - boot: this one.
    ///   - isLocked: whether a live process is at the guest.
    init(_ records: [GuestRecord], boot: String, isLocked: (GuestRecord) -> Bool) {
        for record in records {
            let addresses = Int64(record.guest.addresses.count)
            let state: State
            if record.boot != boot {
                state = .stale
            } else if record.phase == .pinned {
                state = .pinned
            } else if !isLocked(record) {
                state = .interrupted
            } else {
                state = State(rawValue: record.phase.rawValue) ?? .interrupted
            }
            states[state, default: 0] += 1
            let entry: EntryState
            switch state {
            case .stale: entry = .stale
            case .pinned: entry = .pinned
            default: entry = .changing
            }
            entries[entry, default: 0] += addresses
            guard state != .stale else { continue }
            guests[record.guest.side, default: 0] += 1
            if state == .pinned, record.proof == .missing { unproven += addresses }
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
