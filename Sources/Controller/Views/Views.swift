import FDB
import Netlink
public import Policy
public import Records
public import Switchdev

/// How a guest interface stands: what the journal says of it.
public struct GuestStatus: Hashable, Sendable, Encodable {
    /// One port.
    public struct Port: Hashable, Sendable, Encodable {
        /// Interface name when prepared.
        public let name: String
        /// Interface index when prepared.
        public let ifindex: Int32
    }

    /// Its name.
    public let guest: String
    /// The bridge's name.
    public let bridge: String
    /// Where it is pinned.
    public let side: Side
    /// `pinned`, or what is under way.
    public let phase: String
    /// Where it is to go, while something is under way.
    public let goal: Side?
    /// A live process is at it; false while something is under way: the process died, run abort.
    public let running: Bool
    /// Prepared before the last reboot: void.
    public let stale: Bool
    /// The port of the VF.
    public let primary: Port
    /// The port of the paravirtual NIC.
    public let standby: Port
    /// The port towards other hosts.
    public let uplink: Port?
    /// `MAC` or `MAC/VLAN`.
    public let addresses: [String]
    /// Entries are sticky because a port serves others too.
    public let sticky: Bool
    /// What was known of hardware when the guest came to its side: `nothing_to_prove`, `proven` or `missing`.
    public let proofStatus: OffloadProof.Status
    /// What is waited for, in phase `waiting`.
    public var wait: WaitView?
    /// What the guest does with frames that reach both of its NICs.
    public let kind: GuestKind
    /// The bracket, while there is one.
    public var bracket: BracketView?

    init(_ record: GuestRecord, running: Bool, stale: Bool) {
        func port(_ identity: PortIdentity) -> Port { Port(name: identity.name, ifindex: identity.index) }
        let guest = record.guest
        self.guest = guest.id.text
        bridge = guest.bridge.name
        side = guest.side
        phase = record.phase.rawValue
        goal = record.phase == .pinned ? nil : record.goal
        self.running = running
        self.stale = stale
        primary = port(guest.primary)
        standby = port(guest.standby)
        uplink = guest.uplink.map(port)
        addresses = guest.addresses.map(\.description)
        sticky = guest.isSticky
        proofStatus = record.proof
        kind = guest.kind
    }
}

/// Intent compared with the table.
public struct Verification: Hashable, Sendable, Encodable {
    /// One address.
    public struct AddressState: Hashable, Sendable, Encodable {
        /// `MAC` or `MAC/VLAN`.
        public let address: String
        /// As intended.
        public let ok: Bool
        /// What the table shows, in the words of `bridge fdb show`.
        public let found: String
    }

    /// The guest interface's name.
    public let guest: String
    /// Where it should be.
    public let side: Side
    /// Everything is as intended.
    public var ok: Bool
    /// The addresses.
    public let addresses: [AddressState]
    /// What is known of hardware, in words.
    public let proof: String
    /// What is known of hardware: `nothing_to_prove`, `proven` or `missing`.
    public let proofStatus: OffloadProof.Status
    /// What differs.
    public var problems: [String]
}

extension Host {
    /// The guests of this network namespace, or one of them.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` for a guest that is not known.
    public mutating func status(_ id: GuestID?) throws(ControllerError) -> [GuestStatus] {
        guard let journal = try Journal(reading: folder) else {
            if let id { throw unknown(id) }
            return []
        }
        var records = try journal.records()
        if let id {
            guard let record = try journal.record(id) else { throw unknown(id) }
            records = [record]
        }
        return records.map { record in
            let isRunning = journal.isLocked(record)
            var status = GuestStatus(record, running: isRunning, stale: record.boot != journal.boot)
            if record.boot == journal.boot { status.bracket = view(record) }
            if record.phase == .waiting || (record.phase == .bracketed && isRunning) {
                status.wait = journal.wait(of: status.guest)
            }
            return status
        }
    }

    /// Compares what is intended for a guest with the bridge's table and, where there is any, with hardware.
    public mutating func verify(_ id: GuestID) throws(ControllerError) -> Verification {
        guard let journal = try Journal(reading: folder) else { throw unknown(id) }
        var record = try known(id, in: journal)
        let bracket = record.phase == .bracketed ? view(record) : nil
        // The entries of an open bracket are on the standby, wherever the guest is.
        record.guest.side = record.entrySide
        let guest = record.guest
        var observation = try Observation.read(guest, using: &socket)
        var problems: [String] = []
        if let bracket, !bracket.isCopyRight {
            problems.append("a bracket is open, and its copy is missing or wrong: run \"fdbsteer reconcile\"")
        }
        let isWaiting = record.phase == .waiting && journal.isLocked(record)
        if record.phase != .pinned, record.phase != .bracketed, !isWaiting {
            problems.append(
                "\(record.phase.rawValue) is under way"
                    + (journal.isLocked(record) ? "" : " but its process is gone: run \"fdbsteer abort \(id)\""))
        }
        problems += Preflight(Subject(guest), observation).judge(by: Rule.ofIntent).problems
        try observation.readFilters(of: guest, using: &socket)
        problems += FilterPlan.problems(guest, observation.filters)
        let target = guest.port(of: guest.side)?.index ?? 0
        let expected = PlannedChange.Expectation(port: target, isStatic: true, isSticky: guest.isSticky)
        let addresses = guest.addresses.map { address -> Verification.AddressState in
            let entry = observation.entry(address)
            let found = entry.map { "\(guest.name(ofPort: $0.port)) \($0.words.joined(separator: " "))" } ?? "no entry"
            return .init(address: address.description, ok: expected.holds(for: entry), found: found)
        }
        for state in addresses where !state.ok {
            problems.append(
                "\(state.address) should be on \(guest.name(ofPort: target)) static\(guest.isSticky ? " sticky" : ""), "
                    + "the table shows: \(state.found)")
        }
        let hardware = try HardwareView(record, observation)
        problems += hardware.problems
        let proof = hardware.proof(tableIsRight: problems.isEmpty)
        return Verification(
            guest: id.text, side: guest.side, ok: problems.isEmpty, addresses: addresses, proof: proof.text,
            proofStatus: proof.status, problems: problems)
    }

    /// The last redirections, the newest first.
    ///
    /// - Parameters:
    ///   - id: of one guest, nil for all.
    ///   - limit: at most so many.
    public func history(_ id: GuestID?, limit: Int) throws(ControllerError) -> [HistoryEntry] {
        do throws(DatabaseError) {
            try History.takeOverBacklog(of: folder)
            guard folder.hasHistory else { return [] }
            return try History(folder: folder, readOnly: true).entries(guest: id?.text, limit: limit)
        } catch {
            throw ControllerError(.precondition, "cannot read the history \(error)", remedy: "run as root")
        }
    }

    /// All that the history knows of one redirection.
    ///
    /// - Parameter number: as ``history(_:limit:)`` numbers them; nil for the guest's last.
    /// - Throws: ``ControllerError`` of code `precondition` when there is no such redirection.
    public func historyReport(_ id: GuestID?, number: Int64?) throws(ControllerError) -> HistoryReport {
        let missing = ControllerError(
            .precondition, "the history has no such redirection",
            remedy: "\"fdbsteer history\" lists them with their numbers")
        do throws(DatabaseError) {
            try History.takeOverBacklog(of: folder)
            if folder.hasHistory {
                let history = try History(folder: folder, readOnly: true)
                let last = try history.entries(guest: id?.text, limit: 1).first?.id
                if let number = number ?? last, let report = try history.report(number),
                    id == nil || report.entry.guest == id?.text
                {
                    return report
                }
            }
        } catch {
            throw ControllerError(.precondition, "cannot read the history \(error)", remedy: "run as root")
        }
        throw missing
    }

    private func unknown(_ id: GuestID) -> ControllerError {
        ControllerError(
            .precondition, "guest \(id) is not known", remedy: "prepare it first; \"fdbsteer status\" lists the guests")
    }
}
