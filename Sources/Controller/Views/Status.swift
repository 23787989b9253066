import FDB
package import JSON
import Netlink
package import Policy
package import Records
package import Switchdev

/// The state of a guest interface: what its record says, and the problems of its ports.
package struct GuestStatus: Hashable, Sendable, Encodable {
    /// One port.
    package struct Port: Hashable, Sendable, Encodable {
        /// The interface's name now, or the last that is known.
        package let name: String
        /// The interface index, by which it is known.
        package let ifindex: Int32
    }

    /// Its name.
    package let guest: String
    /// The bridge's name.
    package let bridge: String
    /// Where it is pinned.
    package let side: Side
    /// The operation in progress: `pinned` for none, `waiting` while a redirection waits for a signal.
    package fileprivate(set) var phase: String
    /// Where it is to go, while something is under way.
    package fileprivate(set) var goal: Side?
    /// A live process is at it; false while something is under way: the process died, run abort.
    package fileprivate(set) var running: Bool
    /// The process that is at it.
    package var holder: Holder?
    /// When its side or phase last changed, in nanoseconds since 1970; 0 if it is not known.
    @JSON.Time package private(set) var since: Int64
    /// The program, and its verb, that wrote the record.
    package let writtenBy: String
    /// The kernel has nothing of it any more: void.
    package let stale: Bool
    /// Where it was prepared, seen from here.
    package let place: Place
    /// The port of the VF; nil for a guest with one port.
    package let primary: Port?
    /// The port of the paravirtual NIC; nil for a guest with one port.
    package let standby: Port?
    /// The port of a guest that has one.
    package let local: Port?
    /// The port towards other hosts.
    package let uplink: Port?
    /// `MAC` or `MAC/VLAN`.
    package let addresses: [String]
    /// Entries are sticky because a port serves others too.
    package let sticky: Bool
    /// Whether its ports, which are shut while it is on another host: `open` or `closed`; nil for a guest without a gate.
    package let gate: Gate?
    /// What shuts them: `lock` for the bridge's flag, `table` for nftables.
    package let gateBy: Policy.Gate?
    /// What was known of hardware when the guest came to its side: `nothing_to_prove`, `proven` or `missing`.
    package let proofStatus: OffloadProof.Status
    /// What is waited for: the guest is not held meanwhile.
    package var wait: WaitView?
    /// What the guest does with frames that reach both of its NICs.
    package let kind: GuestKind
    /// The bracket, while there is one.
    package var bracket: BracketView?
    /// The problems that `verify` lists, without those of a verb under way, which ``phase`` and ``running`` tell; nil for a guest that is
    /// not here.
    package var problems: [Problem]?
    /// What takes a privilege to see that this process has not, and is no fault of the guest, in words.
    package fileprivate(set) var unseen: [String] = []
    /// What the daemon knows to be wrong, and since when; nil when no daemon runs or that cannot be read, or for a guest that is void.
    package var conditions: [ConditionView]?
    /// How it is, in one word.
    package fileprivate(set) var health = Health.ok
    /// What to do next, a command where there is one; nil where nothing is to be done.
    package fileprivate(set) var next: String?
    /// The network namespace where it was prepared.
    package let namespace: NamespaceView
    /// The daemon redirects it by QEMU's events; nil when no daemon runs, or what it has found cannot be read.
    package fileprivate(set) var followed: Bool?
    /// The processes of which an open bracket can expect to be closed, and by what; nil without a bracket.
    package fileprivate(set) var closing: String?

    /// Whether the fabric can hear the guest's ports.
    package enum Gate: String, Hashable, Sendable, Encodable, CaseIterable {
        case open, closed
    }

    init(_ record: GuestRecord, running: Bool, _ place: Place) {
        func port(_ identity: PortIdentity) -> Port { Port(name: identity.name, ifindex: identity.index) }
        let guest = record.guest
        self.guest = guest.id.text
        bridge = guest.bridge.name
        side = guest.side
        phase = record.phase.rawValue
        goal = record.phase == .pinned ? nil : record.goal
        self.running = running
        since = record.since
        writtenBy = record.by
        stale = place.isVoid
        self.place = place
        primary = guest.port(of: .primary).map(port)
        standby = guest.port(of: .standby).map(port)
        local = guest.port(of: .local).map(port)
        uplink = guest.uplink.map(port)
        addresses = guest.addresses.map(\.description)
        sticky = guest.isSticky
        gateBy = guest.standby.gate
        gate = guest.isGated ? guest.side == .remote ? .closed : .open : nil
        proofStatus = record.proof
        kind = guest.kind
        namespace = NamespaceView(inode: record.namespace, cookie: record.cookie)
    }
}

extension GuestStatus {
    /// Fills in what follows from the rest, and from its record.
    fileprivate mutating func judge(_ record: GuestRecord, by daemon: DaemonKnowledge?) {
        (health, next) = verdict()
        // What the daemon alone can see may be wrong.
        if health == .ok, place == .here, let fault = daemon?.fault { (health, next) = (.warning, fault.remedy) }
        closing = closer(of: record, daemon)
    }
}

/// Something that the daemon knows to be wrong with a guest.
package struct ConditionView: Hashable, Sendable, Encodable {
    /// The stable word (docs/daemon.md).
    package let code: String
    /// What it means for the guest.
    package let severity: Condition.Severity
    /// The port, bridge, address or socket concerned; empty for the guest as a whole.
    package let subject: String
    /// What is so.
    package let message: String
    /// What to do.
    package let remedy: String
    /// When the daemon first found it, in nanoseconds since 1970.
    @JSON.Time package private(set) var since: Int64

    init(_ record: ConditionRecord) {
        code = record.condition.code
        severity = record.condition.severity
        subject = record.condition.subject
        message = record.condition.message
        remedy = record.condition.remedy
        since = record.since
    }

    /// One line.
    package var words: String { subject.isEmpty ? message : "\(subject): \(message)" }
}

/// A guest that the daemon's configuration names with its ports, and that it has not prepared.
package struct AbsentGuest: Hashable, Sendable, Encodable {
    /// Its name.
    package let guest: String
    /// How it is, in one word.
    package let health: Health
    /// Why it is not prepared, and since when.
    package let conditions: [ConditionView]
    /// What to do next.
    package let next: String?

    fileprivate init(_ guest: String, _ records: [ConditionRecord]) {
        self.guest = guest
        func has(_ severity: Condition.Severity) -> Bool { records.contains { $0.condition.severity == severity } }
        health = has(.problem) ? .problem : has(.warning) ? .warning : .void
        conditions = records.map(ConditionView.init)
        next = records.first?.condition.remedy
    }
}

/// How guests stand.
package struct Status {
    /// Reads the guests that the daemon's configuration names, and that it has not prepared.
    ///
    /// - Parameter ids: these alone; nil for all.
    package static func absent(
        _ ids: [GuestID]? = nil, on host: borrowing Host
    ) throws(ControllerError) -> [AbsentGuest] {
        guard let journal = try Journal(reading: host.folder), let daemon = journal.daemon else { return [] }
        let records = daemon.conditions.filter { record in
            record.row == ConditionRecord.absent && ids.map { $0.contains { $0.text == record.guest } } ?? true
        }
        // Between a preparation and the daemon's next look it is in both.
        return Dictionary(grouping: records, by: \.guest).filter { guest, _ in
            (try? GuestID(guest)).map { !journal.knows($0) } ?? false
        }.map { AbsentGuest($0, $1) }
    }

    /// Reads all guests that have a record, or one of them.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` for a guest that is not known.
    package static func read(_ id: GuestID?, on host: inout Host) throws(ControllerError) -> [GuestStatus] {
        try readAll(id, on: &host).guests
    }

    /// Reads all guests that have a record, wherever they were prepared, or one of them. Broken records are returned as faults.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` for a guest that is not known.
    package static func readAll(
        _ id: GuestID?, on host: inout Host
    ) throws(ControllerError) -> (guests: [GuestStatus], faults: [ControllerError]) {
        guard let journal = try Journal(reading: host.folder) else {
            if let id { _ = try Journal.open(host.folder, for: id) }
            return ([], [])
        }
        let (records, faults): ([GuestRecord], [ControllerError])
        if let id {
            (records, faults) = ([try journal.guest(id, .anywhere)], [])
        } else {
            (records, faults) = try journal.recordsAndFaults()
        }
        let daemon = journal.daemon
        var statuses: [GuestStatus] = []
        for known in records {
            let place = journal.place(of: known)
            var standing = Verify.Standing(record: known, isRunning: false)
            if place == .here {
                guard let now = try Verify.standing(of: known, in: journal, on: &host.kernel) else {
                    // Released since it was listed: who asked for it alone is told that it is not known.
                    if let id { _ = try journal.guest(id) }
                    continue
                }
                standing = now
            } else {
                standing.isRunning = journal.isLocked(known)
            }
            let record = standing.record
            var status = GuestStatus(record, running: standing.isRunning, place)
            if standing.isRunning { status.holder = journal.holder(of: record.guest.id.text) }
            if place == .here {
                status.bracket = host.kernel.view(record)
                (status.problems, status.unseen) = (standing.problems, standing.unseen)
                if let daemon, daemon.fault == nil {
                    status.conditions = daemon.conditions.filter { $0.row == record.row }.map(ConditionView.init)
                }
            }
            status.wait = journal.wait(of: status.guest)
            if let wait = status.wait {
                status.running = true
                if record.phase == .pinned { (status.phase, status.goal) = ("waiting", wait.goal) }
            }
            status.followed = daemon.flatMap { $0.fault == nil ? $0.followed.contains(status.guest) : nil }
            status.judge(record, by: daemon)
            statuses.append(status)
        }
        return (statuses.sorted { $0.isBefore($1) }, faults)
    }
}
