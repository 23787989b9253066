import Exposition
import Policy
import Records
import Switchdev

/// What the journal amounts to.
struct JournalTotals {
    /// How a guest stands.
    enum State: String, CaseIterable {
        case pinned, preparing, switching, releasing
        /// A bracket is open.
        case bracket
        /// A redirection waits for a signal; nothing was changed.
        case waiting
        /// Something is under way, and the process that was at it is gone.
        case interrupted
        /// Prepared before the last reboot, which emptied the bridge's table.
        case stale

        /// What a phase amounts to while a live process is at the guest.
        init(_ phase: GuestPhase) {
            switch phase {
            case .pinned: self = .pinned
            case .preparing: self = .preparing
            case .releasing: self = .releasing
            case .bracketed: self = .bracket
            case .switching, .opening, .closing: self = .switching
            }
        }
    }

    /// Guests whose entries are this boot's, by side.
    private var guests: [Side: Int64] = [:]
    private var states: [State: Int64] = [:]
    private var entries: [EntryState: Int64] = [:]
    private var unproven: Int64 = 0
    /// Guests with an open bracket, and since when, in nanoseconds since 1970.
    private var brackets: [(guest: GuestID, since: Int64)] = []

    /// The guests that were prepared since this boot, and the operation that each is in.
    private var each: [(record: GuestRecord, state: State)] = []

    private enum EntryState: String, CaseIterable {
        case pinned, changing, stale
    }

    /// - Parameters:
    ///   - boot: this one.
    ///   - waiting: guests whose redirection waits for a signal.
    ///   - isLocked: whether a live process is at the guest.
    init(_ records: [GuestRecord], boot: String, waiting: Set<String> = [], isLocked: (GuestRecord) -> Bool) {
        for record in records {
            let addresses = Int64(record.guest.addresses.count)
            var state = State(record.phase)
            if record.boot != boot {
                state = .stale
            } else if state == .pinned {
                if waiting.contains(record.guest.id.text) { state = .waiting }
            } else if state == .bracket {
                brackets.append((record.guest.id, record.since))
            } else if !isLocked(record) {
                state = .interrupted
            }
            states[state, default: 0] += 1
            let entry: EntryState
            switch state {
            case .stale: entry = .stale
            case .pinned, .waiting: entry = .pinned
            default: entry = .changing
            }
            entries[entry, default: 0] += addresses
            guard state != .stale else { continue }
            guests[record.guest.side, default: 0] += 1
            each.append((record, state))
            if entry == .pinned, record.proof == .missing { unproven += addresses }
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
                "Guest interfaces by what is under way: pinned is nothing; waiting: for a signal; bracket: one is open; "
                + "interrupted: its process is gone, abort or "
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
        var opened = MetricFamily(
            "fdbsteer_bracket_opened_time_seconds", .gauge,
            help: "When the bracket of a guest was opened, in seconds since 1970; only guests with an open one.",
            labels: ["guest"])
        for (guest, since) in brackets { opened.set(.real(Double(since) / 1e9), guest.text) }
        return [sides, phases, table, doubtful, opened] + familiesOfEach
    }

    /// What an alert needs that has to name its guest; nothing by MAC.
    private var familiesOfEach: [MetricFamily] {
        var side = MetricFamily(
            "fdbsteer_guest_side", .gauge,
            help: "1 for the side that a guest is on; while a redirection runs, the side before it.",
            labels: ["guest", "side"])
        var since = MetricFamily(
            "fdbsteer_guest_since_time_seconds", .gauge,
            help: "Since when side and phase of a guest are as they are, in seconds since 1970.", labels: ["guest"])
        var state = MetricFamily(
            "fdbsteer_guest_state", .gauge, help: "1 for what is under way with a guest, as in fdbsteer_guest_states.",
            labels: ["guest", "state"])
        var unproven = MetricFamily(
            "fdbsteer_guest_entries_unproven", .gauge,
            help: "Pinned entries of a guest where nothing showed that hardware followed.", labels: ["guest"])
        var info = MetricFamily(
            "fdbsteer_guest_info", .gauge,
            help:
                "Always 1, to join with; the ports by the names that were last written. A guest with one port has it as standby.",
            labels: ["guest", "bridge", "primary", "standby", "uplink", "kind"])
        for (record, now) in each {
            let guest = record.guest
            let id = guest.id.text
            side.set(1, id, guest.side.rawValue)
            if record.since > 0 { since.set(.real(Double(record.since) / 1e9), id) }
            state.set(1, id, now.rawValue)
            let isUnproven = record.phase == .pinned && record.proof == .missing
            unproven.set(isUnproven ? guest.addresses.count : 0, id)
            func name(_ side: Side) -> String { guest.port(of: side)?.name ?? "" }
            info.set(
                1, id, guest.bridge.name, name(.primary), name(.local).isEmpty ? name(.standby) : name(.local),
                name(.remote), guest.kind.rawValue)
        }
        return [side, since, state, unproven, info]
    }
}
