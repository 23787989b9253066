package import FDB
import Switchdev

/// How a prepared guest differs from its record, and what to do about it; decided from observations, without I/O.
package enum Drift: Hashable {
    /// Everything is as recorded.
    case none
    /// Entries or settings differ: restore them.
    case entries(Watch.Cause)
    /// Only settings of ports differ: restore them.
    case settings
    /// Only neighbours that follow the guest differ: restore them.
    case neighbours
    /// Static entries of an eswitch port have lost the OFFLOADED flag: make them again.
    case flags([Address])
    /// Frames, or a control plane, have brought entries to the other side of the uplink: ``Trail`` says what that shows.
    case astray([Stray])
    /// The primary is gone: only the standby leads to the guest.
    case primaryLost(String)
    /// The primary has no carrier: the guest may be leaving it, and accepts nothing on the standby until it has.
    case primaryMute
    /// Nothing can be done on this host.
    case beyondRepair(String)

    /// An entry that is not where the record has it, and that no program has put there.
    package struct Stray: Hashable {
        package let address: Address
        package let origin: EntryOrigin
    }

    /// A port that the guest needs is gone, or no port of its bridge any more; nil if none is.
    private static func lostPort(_ record: GuestRecord, _ bridge: Link, _ observation: Observation) -> Drift? {
        func isThere(_ side: Side) -> Bool { observation.ports[side]?.master == bridge.index }
        // A bracket needs both ports.
        for needed in record.phase == .bracketed ? [Side.primary, .standby] : [record.entrySide] where !isThere(needed)
        {
            let what =
                "\(needed.rawValue) port \(record.guest.port(of: needed)?.name ?? "") "
                + (observation.ports[needed] == nil ? "no longer exists" : "was taken out of \(bridge.name)")
            return needed == .primary && isThere(.standby) ? .primaryLost(what) : .beyondRepair(what)
        }
        return nil
    }

    package init(_ record: GuestRecord, _ observation: Observation) {
        let guest = record.guest
        guard let bridge = observation.bridge else {
            self = .beyondRepair("bridge \(guest.bridge.name) no longer exists")
            return
        }
        let side = record.servingSide(observation)
        guard guest.port(of: side) != nil else {
            self = .none
            return
        }
        let lost = Drift.lostPort(record, bridge, observation)
        if case .primaryLost(let what)? = lost, side == record.entrySide {
            self = .primaryLost(what)
            return
        }
        var cause: Watch.Cause?
        var flagless: [Address] = []
        var astray: [Stray] = []
        for address in guest.addresses {
            guard let entry = observation.entry(address) else {
                cause = cause ?? .removed
                continue
            }
            switch record.fault(of: entry, on: side) {
            case nil: break
            case .flagLost: flagless.append(address)
            case .stolen:
                if Drift.isClaimed(entry, of: record, observation) { continue }
                if let origin = Drift.stray(entry, record, observation) {
                    astray.append(Stray(address: address, origin: origin))
                    continue
                }
                cause = .stolen
            case let fault?: cause = cause ?? fault
            }
        }
        if let lost, side == record.entrySide {
            // Nobody can be behind a port that is gone: the guest may be where its entries are.
            let isBehindUplink = astray.allSatisfy { observation.entry($0.address)?.port == guest.uplink?.index }
            self = !astray.isEmpty && isBehindUplink ? .astray(astray) : lost
        } else if !astray.isEmpty {
            self = .astray(astray)
        } else if let cause {
            self = .entries(cause)
        } else if let lost {
            self = lost
        } else if !PortSetting.steps(guest, observation).isEmpty {
            self = .settings
        } else if side == .primary, let port = observation.ports[.primary], !port.hasCarrier || !port.isUp {
            self = .primaryMute
        } else if !flagless.isEmpty {
            self = .flags(flagless)
        } else {
            let isRight =
                guest.neighbours == nil
                || NeighbourChange.following(guest, at: guest.side, observation).isEmpty
            self = isRight ? .none : .neighbours
        }
    }
}

extension Drift {
    /// How an entry came to the other side of the uplink; nil for one that was taken by a third port, or by a program.
    private static func stray(_ entry: Entry, _ record: GuestRecord, _ observation: Observation) -> EntryOrigin? {
        let guest = record.guest
        let origin = EntryOrigin(entry, on: observation.links[entry.port])
        if record.entrySide == .remote {
            return entry.port == guest.standby.index && guest.learns(guest.arrival) && origin == .frame ? origin : nil
        }
        let isAbroad = entry.port == guest.uplink?.index || isBehindTunnel(entry, observation)
        return isAbroad && origin != .program ? origin : nil
    }

    /// A guest is on another host, and a control plane says the same in its own way: by an entry of its own at the uplink, or behind a
    /// tunnel.
    package static func isClaimed(_ entry: Entry, of record: GuestRecord, _ observation: Observation) -> Bool {
        record.entrySide == .remote && (record.isClaim(entry) || isBehindTunnel(entry, observation))
    }

    /// A control plane has the address behind a tunnel: it uses its own port, whichever the guest's uplink is.
    private static func isBehindTunnel(_ entry: Entry, _ observation: Observation) -> Bool {
        let port = observation.links[entry.port]
        return port?.isTunnel == true && EntryOrigin(entry, on: port) == .controlPlane
    }
}

extension Link {
    /// A tunnel whose entries a control plane may make, and from whose bridge it may tell the fabric.
    package var isTunnel: Bool { kind == "vxlan" }
}

extension GuestRecord {
    /// Where the entries belong as things stand: a bracket copies what its standby sends, so that a guest whose standby delivers
    /// nothing is reached by its primary alone, until the standby delivers again.
    package func servingSide(_ observation: Observation) -> Side {
        func delivers(_ side: Side) -> Bool {
            observation.ports[side].map { $0.master == observation.bridge?.index && $0.obstacle == nil } ?? false
        }
        return phase == .bracketed && !delivers(.standby) && delivers(.primary) ? .primary : entrySide
    }

    /// Whether an entry is a control plane's word that its address is behind the uplink: what a driver has learned has the same flag.
    package func isClaim(_ entry: Entry) -> Bool {
        guard let uplink = guest.port(of: .remote), entry.port == uplink.index else { return false }
        return !uplink.isEswitchPort && entry.flags.contains(.externallyLearned)
    }

    /// What is wrong with an entry of one of the guest's addresses: ``Watch/Cause/stolen``, ``Watch/Cause/weakened`` or
    /// ``Watch/Cause/flagLost``; nil if the entry is as recorded.
    ///
    /// - Parameter side: where the entries belong; nil for ``entrySide``.
    package func fault(of entry: Entry, on side: Side? = nil) -> Watch.Cause? {
        let side = side ?? entrySide
        guard let port = guest.port(of: side) else { return nil }
        if entry.port != port.index { return .stolen }
        // A control plane's entry does not age.
        if !(entry.isStatic || (side == .remote && isClaim(entry))) || entry.isSticky != guest.isSticky {
            return .weakened
        }
        if port.isEswitchPort, proof == .proven, !entry.flags.contains(.offloaded) { return .flagLost }
        return nil
    }
}

extension Planner {
    /// Plans the restoration of a guest's entries and its ports' settings to the record.
    ///
    /// - Parameters:
    ///   - flagless: entries to make again, so that the driver can set their flag.
    ///   - spared: entries to leave as they are.
    ///   - contradicts: replaces also neighbours that a control plane has made.
    package func repair(
        _ record: GuestRecord, observation: Observation, flagless: [Address] = [], sparing spared: Set<Address>? = nil,
        contradicts: Bool = false
    ) throws(ControllerError) -> Plan {
        let guest = record.guest
        let plan = try move(
            guest, to: guest.side, observation: observation, isProven: record.proof == .proven, verb: .repair,
            sparing: spared, contradicts: contradicts)
        guard !flagless.isEmpty, let port = guest.port(of: guest.side) else { return plan }
        let renewals = flagless.compactMap {
            Plan.pin($0, before: observation.entry($0), on: port, of: guest, links: observation.links, renewing: true)
        }
        return Plan(
            verb: .repair, guest: guest, from: guest.side, to: guest.side, steps: plan.steps + [.entries(renewals)],
            notes: plan.notes, links: observation.links)
    }
}
