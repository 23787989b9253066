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
    /// Static entries of an eswitch port have lost the OFFLOADED flag: make them again.
    case flags([Address])
    /// Addresses are behind the uplink: the guest has left, or its own frames came back.
    case behindUplink
    /// Addresses that were behind the uplink are on the standby: the guest has arrived.
    case arrived
    /// The primary is gone: only the standby leads to the guest.
    case primaryLost(String)
    /// The primary has no carrier: the guest may be leaving it, and accepts nothing on the standby until it has.
    case primaryMute
    /// Nothing can be done on this host.
    case beyondRepair(String)

    /// A port that the guest needs is gone, or no port of its bridge any more; nil if none is.
    private static func lostPort(_ record: GuestRecord, _ bridge: Link, _ observation: Observation) -> Drift? {
        let side = record.entrySide
        // A bracket needs both ports.
        for needed in record.phase == .bracketed ? [Side.primary, side] : [side] {
            let port = observation.ports[needed]
            guard port == nil || port?.master != bridge.index else { continue }
            let what =
                "\(needed.rawValue) port \(record.guest.port(of: needed)?.name ?? "") "
                + (port == nil ? "no longer exists" : "was taken out of \(bridge.name)")
            return needed == .primary ? .primaryLost(what) : .beyondRepair(what)
        }
        return nil
    }

    package init(_ record: GuestRecord, _ observation: Observation) {
        let guest = record.guest
        guard let bridge = observation.bridge else {
            self = .beyondRepair("bridge \(guest.bridge.name) no longer exists")
            return
        }
        let side = record.entrySide
        guard guest.port(of: side) != nil else {
            self = .none
            return
        }
        if let lost = Drift.lostPort(record, bridge, observation) {
            self = lost
            return
        }
        var cause: Watch.Cause?
        var flagless: [Address] = []
        for address in guest.addresses {
            guard let entry = observation.entry(address) else {
                cause = cause ?? .removed
                continue
            }
            switch record.fault(of: entry) {
            case nil: break
            case .flagLost: flagless.append(address)
            case .stolen:
                if entry.port == guest.uplink?.index, side != .remote, !entry.isLocal {
                    self = .behindUplink
                    return
                }
                if side == .remote, entry.port == guest.standby.index, !entry.isLocal, guest.learns(.standby) {
                    self = .arrived
                    return
                }
                cause = .stolen
            case let fault?: cause = cause ?? fault
            }
        }
        if let cause {
            self = .entries(cause)
        } else if !PortSetting.steps(guest, observation).isEmpty {
            self = .settings
        } else if side == .primary, let port = observation.ports[.primary], !port.hasCarrier || !port.isUp {
            self = .primaryMute
        } else {
            self = flagless.isEmpty ? .none : .flags(flagless)
        }
    }
}

extension GuestRecord {
    /// What is wrong with an entry of one of the guest's addresses: ``Watch/Cause/stolen``, ``Watch/Cause/weakened`` or
    /// ``Watch/Cause/flagLost``; nil if the entry is as recorded.
    package func fault(of entry: Entry) -> Watch.Cause? {
        guard let port = guest.port(of: entrySide) else { return nil }
        if entry.port != port.index { return .stolen }
        if !entry.isStatic || entry.isSticky != guest.isSticky { return .weakened }
        if port.isEswitchPort, proof == .proven, !entry.flags.contains(.offloaded) { return .flagLost }
        return nil
    }
}

extension Planner {
    /// Plans the restoration of a guest's entries and its ports' settings to the record.
    ///
    /// - Parameter flagless: entries to make again, so that the driver can set their flag.
    package func repair(
        _ record: GuestRecord, observation: Observation, flagless: [Address] = []
    ) throws(ControllerError) -> Plan {
        let guest = record.guest
        let plan = try move(
            guest, to: guest.side, observation: observation, isProven: record.proof == .proven, verb: .repair)
        guard !flagless.isEmpty, let port = guest.port(of: guest.side) else { return plan }
        let renewals = flagless.compactMap {
            Plan.pin($0, before: observation.entry($0), on: port, of: guest, links: observation.links, renewing: true)
        }
        return Plan(
            verb: .repair, guest: guest, from: guest.side, to: guest.side, steps: plan.steps + [.entries(renewals)],
            notes: plan.notes, links: observation.links)
    }
}
