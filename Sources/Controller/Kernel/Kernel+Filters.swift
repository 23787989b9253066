import FDB
import Netlink
import Policy
import Switchdev
import System

extension Host {
    /// Reads what `prepare` needs of a NIC in legacy mode; nil for a guest without one.
    mutating func legacy(
        _ request: PreparationRequest, ports: [Side: Link], links: Links, records: [GuestRecord]
    ) throws(ControllerError) -> LegacyPreparation? {
        guard let legacy = request.legacy, let address = request.addresses.first else { return nil }
        let (pf, device) = try NICLookup.physicalFunction(legacy.pf, links: links)
        let devlink = try ControllerError.reading("devlink") { () throws(NetlinkError) in try Devlink.snapshot() }
        let filters = try ControllerError.reading("the filters of \(pf.name)") { () throws(NetlinkError) in
            try NICFilters.read(
                address.mac, vf: legacy.vf, of: pf.index, uplink: ports[.primary]?.index ?? pf.index, using: &socket)
        }
        let nic = NICIdentity(interface: pf.name, device: device, devlink: devlink)
        return try LegacyCheck(
            request: request, legacy: legacy, links: links, devlink: devlink, filters: filters,
            verdict: verdict(of: nic), records: records
        ).preparation()
    }

    /// Changes a filter; what is so already is as good.
    mutating func apply(_ change: FilterChange) -> Redirection.Event {
        do throws(NetlinkError) {
            // Frames that the port has taken already are on their way through the bridge.
            defer { if case .entry(_, _, false) = change { sleepNanoseconds(Host.drainPause) } }
            switch change {
            case .functionMAC(let mac, let vf, let pf):
                try socket.perform(NICRequest.setMAC(mac, vf: vf, of: pf.index))
            case .entry(let mac, let port, let isOn):
                do throws(NetlinkError) {
                    try socket.perform(UnicastListRequest(mac, link: port.index, isAddition: isOn))
                } catch {
                    guard error.errno == (isOn ? .exists : .noEntry) else { throw error }
                }
            }
            return .done
        } catch {
            return .failed(
                Redirection.Failure(
                    "the NIC refused \"\(change.words.bridgeCommand ?? "")\"", cause: KernelRefusal(error)))
        }
    }

    /// Reads the filters back, and watches the counters of where the frames should arrive.
    ///
    /// - Parameter timeout: nanoseconds; without traffic nothing can be seen, so that it is cut to a fifth of a second.
    mutating func proveFilters(_ plan: Plan, timeout: Int64) -> OffloadProof {
        guard let nic = plan.guest.nic, let mac = plan.guest.addresses.first?.mac else { return .nothingToProve }
        let guest = plan.guest
        do throws(NetlinkError) {
            let filters = try NICFilters.read(
                mac, vf: nic.vf, of: nic.pf.index, uplink: guest.primary.index, using: &socket)
            if let problem = FilterPlan.problems(guest, filters).first { return .missing(reason: problem) }
            let first = try FilterCounters.read(guest, nic, using: &socket)
            let end = Stopwatch()
            repeat {
                sleepNanoseconds(Host.counterPause)
                let now = try FilterCounters.read(guest, nic, using: &socket)
                if let words = now.evidence(since: first, guest, nic) {
                    return .proven(evidence: "the NIC's filters are as set, and \(words)")
                }
            } while end.elapsed < min(timeout, Host.counterPatience)
            return .missing(
                reason:
                    "the NIC's filters are as set, but its counters did not move: nobody sends to the guest, or the "
                    + "driver counts no frames of VFs")
        } catch {
            return .missing(reason: "the NIC's filters cannot be read back: \(error)")
        }
    }

    /// Longer than a frame takes from a NIC's queue through the bridge.
    private static let drainPause: Int64 = 10_000_000
    /// Between two looks at the counters.
    private static let counterPause: Int64 = 5_000_000
    /// How long to look.
    private static let counterPatience: Int64 = 200_000_000
}

/// The counters that tell where a guest's frames arrive.
private struct FilterCounters {
    /// Received by the port to the NIC.
    let uplink: UInt64
    /// Sent to the standby.
    let standby: UInt64
    /// Received by the VF, where its driver or the PF's counts.
    let function: UInt64

    static func read(
        _ guest: GuestInterface, _ nic: LegacyNIC, using socket: inout CommandSocket
    ) throws(NetlinkError) -> FilterCounters {
        let ports = try PortCounters.read([guest.primary.index, guest.standby.index], using: &socket)
        let function = try VirtualFunction.receivedPackets(nic.vf, of: nic.pf.index, using: &socket)
        return FilterCounters(
            uplink: ports[0]?.rxPackets ?? 0, standby: ports[1]?.txPackets ?? 0, function: function ?? 0)
    }

    /// What moved where it should; nil when nothing did. Counters that began again count as nothing.
    func evidence(since first: FilterCounters, _ guest: GuestInterface, _ nic: LegacyNIC) -> String? {
        switch guest.side {
        case .standby where uplink > first.uplink && standby > first.standby:
            return
                "\(uplink - first.uplink) frames came in by \(guest.primary.name), \(standby - first.standby) left by "
                + guest.standby.name
        case .primary where function > first.function:
            return "VF \(nic.vf) received \(function - first.function) frames"
        default:
            return nil
        }
    }
}
