import FDB
import Netlink
package import Policy
import Switchdev
import System

/// Keeping what followed guests may miss, and sending it again (docs/zero.md).
extension Keeper {
    /// So many guests' frames are kept at a time: 8 MiB each.
    package static let mostReplays = 16

    /// Begins to keep what is sent to a guest by its standby, or its one port.
    ///
    /// - Parameter isLeaving: it gives up its primary, and is asked when. Where it cannot be asked, ``Replayer/takeAccounts()`` says why.
    /// - Throws: ``ControllerError`` of code `precondition`: nothing is kept.
    package mutating func beginReplay(_ row: Int64, isLeaving: Bool) throws(ControllerError) -> Replayer {
        guard let record = watch.records[row] else {
            throw ControllerError(.precondition, "the guest is not watched")
        }
        let guest = record.guest
        let macs = Array(Set(guest.addresses.map(\.mac))).sorted()
        guard macs.count <= CaptureSocket.macLimit else {
            throw ControllerError(.precondition, "it has \(macs.count) MACs, more than \(CaptureSocket.macLimit)")
        }
        var asks: ReplayPlan.Asks?
        var refusal: String?
        if isLeaving {
            do throws(ControllerError) { asks = try replayAsks(record) } catch { refusal = error.description }
        }
        let plan = try replayPlan(guest, macs, asks)
        guard let buffer = captureBuffer ?? CaptureBuffer() else {
            throw ControllerError(.precondition, "no memory for frames")
        }
        captureBuffer = buffer
        let replayer: Replayer
        do throws(NetlinkError) {
            replayer = try Replayer(plan, through: buffer, now: monotonicNanoseconds())
        } catch {
            throw ControllerError(.precondition, "frames cannot be kept", cause: error)
        }
        if let refusal { replayer.refuseLeaving(refusal) }
        return replayer
    }

    private mutating func replayAsks(_ record: GuestRecord) throws(ControllerError) -> ReplayPlan.Asks {
        guard mayAsk(record.guest.id), case .yes(let owned)? = wards[record.row]?.acquaintance.answers else {
            throw ControllerError(.precondition, "the guest is not known to answer questions")
        }
        let standby = try InquiryTarget(record.guest, by: .standby, owned, using: &host.kernel.socket)
        let primary = try InquiryTarget(record.guest, by: .primary, owned, using: &host.kernel.socket)
        try shield(standby.ports)
        return ReplayPlan.Asks(ip: owned.ip, standbyTag: standby.tag, primaryTag: primary.tag)
    }

    private mutating func replayPlan(
        _ guest: GuestInterface, _ macs: [MACAddress], _ asks: ReplayPlan.Asks?
    ) throws(ControllerError) -> ReplayPlan {
        let uplink = guest.uplink
        let indexes = [guest.bridge.index, guest.standby.index] + [uplink?.index].compactMap { $0 }
        let links = try ControllerError.reading("the ports of guest \(guest.id)") { () throws(NetlinkError) in
            try Links.read(indexes, using: &host.kernel.socket)
        }
        guard let standby = links[1] else {
            throw ControllerError(.precondition, "port \(guest.standby.name) is gone")
        }
        let way = uplink == nil ? nil : links[2]
        var tagging: UplinkTagging?
        if way != nil {
            var vlans = [PortVLANs(), PortVLANs()]
            if links[0]?.bridge?.filtersVLANs == true {
                for (number, index) in indexes.dropFirst().enumerated() {
                    vlans[number] = try ControllerError.reading("VLANs") { () throws(NetlinkError) in
                        try PortVLANs.read(port: index, using: &host.kernel.socket)
                    }
                }
            }
            tagging = UplinkTagging(
                filters: links[0]?.bridge?.filtersVLANs == true, tagType: links[0]?.bridge?.tagType ?? 0x8100,
                own: vlans[0], uplink: vlans[1], addresses: guest.addresses)
        }
        return ReplayPlan(
            standby: PortIdentity(standby), primary: guest.firstPort, uplink: way.map { PortIdentity($0) },
            uplinkMAC: way?.mac ?? guest.addresses[0].mac, tagging: tagging, macs: macs, gap: asks)
    }

    // MARK: - The loop

    /// Lets a replay go on.
    package mutating func advance(_ replayer: Replayer, now: Int64) {
        replayer.advance(now: now, using: &host.kernel.socket)
    }

    /// QEMU has stopped the guest of a replay.
    package mutating func stop(_ replayer: Replayer) { replayer.stops(using: &host.kernel.socket) }

    /// The guest of a replay was seen on another host.
    package mutating func depart(_ replayer: Replayer) {
        replayer.departs(now: monotonicNanoseconds(), using: &host.kernel.socket)
    }
}
