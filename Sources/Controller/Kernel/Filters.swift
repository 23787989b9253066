import FDB
import Netlink
import Policy
import Switchdev
import System

extension FilterChange {
    /// Longer than a frame takes from a NIC's queue through the bridge, in nanoseconds.
    private static let drainPause: Int64 = 10_000_000

    /// Applies the change; "already so" counts as success.
    func apply(using socket: inout CommandSocket) -> Redirection.Event {
        do throws(NetlinkError) {
            // Frames that the port has taken already are on their way through the bridge.
            defer { if case .entry(_, _, false) = self { sleepNanoseconds(FilterChange.drainPause) } }
            switch self {
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
                Redirection.Failure("the NIC refused \"\(words.bridgeCommand ?? "")\"", cause: KernelRefusal(error)))
        }
    }
}

/// The counters that tell where a guest's frames arrive.
struct FilterCounters {
    /// Received by the port to the NIC.
    let uplink: UInt64
    /// Sent to the standby.
    let standby: UInt64
    /// Received by the VF, where its driver or the PF's counts.
    let function: UInt64

    static func read(
        _ guest: GuestInterface, _ nic: LegacyNIC, using socket: inout CommandSocket
    ) throws(NetlinkError) -> FilterCounters {
        let ports = try PortCounters.read([guest.firstPort.index, guest.standby.index], using: &socket)
        let function = try VirtualFunction.receivedPackets(nic.vf, of: nic.pf.index, using: &socket)
        return FilterCounters(
            uplink: ports[0]?.rxPackets ?? 0, standby: ports[1]?.txPackets ?? 0, function: function ?? 0)
    }

    /// What moved where it should; nil when nothing did. Counters that began again count as nothing.
    func evidence(since first: FilterCounters, _ guest: GuestInterface, _ nic: LegacyNIC) -> String? {
        switch guest.side {
        case .standby where uplink > first.uplink && standby > first.standby:
            return
                "\(uplink - first.uplink) frames came in by \(guest.firstPort.name), \(standby - first.standby) left by "
                + guest.standby.name
        case .primary where function > first.function:
            return "VF \(nic.vf) received \(function - first.function) frames"
        default:
            return nil
        }
    }

    /// Between two looks at the counters, in nanoseconds.
    private static let pause: Int64 = 5_000_000
    /// How long to look, in nanoseconds: without traffic nothing can be seen.
    private static let patience: Int64 = 200_000_000

    /// Reads the filters back, and watches the counters of where the frames should arrive.
    ///
    /// - Parameter timeout: nanoseconds; at most a fifth of a second counts.
    static func prove(
        _ guest: GuestInterface, timeout: Int64, using socket: inout CommandSocket
    ) -> OffloadProof {
        guard let nic = guest.nic, let mac = guest.addresses.first?.mac else { return .nothingToProve }
        do throws(NetlinkError) {
            let filters = try NICFilters.read(
                mac, vf: nic.vf, of: nic.pf.index, uplink: guest.firstPort.index, using: &socket)
            if let problem = FilterPlan.problems(guest, filters).first { return .missing(reason: problem) }
            let first = try FilterCounters.read(guest, nic, using: &socket)
            let clock = Stopwatch()
            repeat {
                sleepNanoseconds(FilterCounters.pause)
                let now = try FilterCounters.read(guest, nic, using: &socket)
                if let words = now.evidence(since: first, guest, nic) {
                    return .proven(evidence: "the NIC's filters are as set, and \(words)")
                }
            } while clock.elapsed < min(timeout, FilterCounters.patience)
            return .missing(
                reason:
                    "the NIC's filters are as set, but its counters did not move: nobody sends to the guest, or the "
                    + "driver counts no frames of VFs")
        } catch {
            return .missing(reason: "the NIC's filters cannot be read back: \(error)")
        }
    }
}
