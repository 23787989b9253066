import FDB
import Netlink
package import Policy
import Records
import Switchdev
import System

/// Keeping what followed guests may miss, and sending it again (docs/zero.md).
extension Keeper {
    /// The number of guests whose frames are kept at a time. A guest takes 8 MiB, or 16 while it gives up its primary.
    package static let mostReplays = 16

    /// What a guest is about to do whose frames are kept.
    package enum ReplayCourse {
        /// It will be asked for its primary, and asked when it gives that up (``Keeper/begin(_:)``). Where it cannot be asked,
        /// ``Replayer/takeAccounts()`` says why.
        case leaving
        /// It is copied to another host, and has no primary.
        case migrating
        /// It gets its primary, and is asked when.
        case arriving
    }

    /// Starts to capture the frames that leave by a guest's standby, or by its one port.
    ///
    /// - Throws: ``ControllerError`` of code `precondition`: nothing is kept.
    package mutating func beginReplay(_ row: Int64, _ course: ReplayCourse) throws(ControllerError) -> Replayer {
        guard let record = watch.records[row] else {
            throw ControllerError(.precondition, "the guest is not watched")
        }
        let guest = record.guest
        let macs = Array(Set(guest.addresses.map(\.mac))).sorted()
        guard macs.count <= CaptureSocket.macLimit else {
            throw ControllerError(.precondition, "it has \(macs.count) MACs, more than \(CaptureSocket.macLimit)")
        }
        if course == .arriving, guest.sharesPorts {
            throw ControllerError(.precondition, "others' frames go to the guest's ports too")
        }
        var refusal: String?
        func orRefusal<T>(_ body: () throws(ControllerError) -> T) throws(ControllerError) -> T? {
            do throws(ControllerError) { return try body() } catch {
                guard course == .leaving else { throw error }
                refusal = error.description
                return nil
            }
        }
        var owned: AnnouncementRequest.Owned?
        if course != .migrating {
            owned = try orRefusal { () throws(ControllerError) in
                try askedAddress(record, isKnown: course == .leaving)
            }
        }
        // What is read from the kernel afterwards waits for whoever else changes interfaces, and the guest does not.
        let captures = try Replayer.Captures(
            primary: owned == nil ? nil : guest.firstPort, standby: guest.standby, to: macs)
        var asks: ReplayPlan.Asks?
        if let owned { asks = try orRefusal { () throws(ControllerError) in try replayAsks(record, owned) } }
        let plan = try replayPlan(guest, macs, asks, course)
        guard let buffer = captureBuffer ?? CaptureBuffer() else {
            throw ControllerError(.precondition, "no memory for frames")
        }
        captureBuffer = buffer
        let replayer: Replayer
        do throws(NetlinkError) {
            replayer = try Replayer(
                plan, captures, through: buffer, isReady: course == .leaving, now: monotonicNanoseconds())
        } catch {
            throw ControllerError(.precondition, "frames cannot be kept", cause: error)
        }
        // Nothing was seen yet: what the counters say now is exact unless its queue has frames.
        replayer.look(using: &host.kernel.socket)
        replayer.leavingRefusal = refusal
        return replayer
    }

    /// The address at which a guest is asked.
    ///
    /// - Parameter isKnown: it has answered before. One that has just come was not asked here yet, and is asked at the address that it
    ///   may answer at.
    private func askedAddress(
        _ record: GuestRecord, isKnown: Bool
    ) throws(ControllerError) -> AnnouncementRequest.Owned {
        let answers = wards[record.row]?.acquaintance.answers ?? .unknown
        guard mayAsk(record.guest.id), isKnown ? answers.isYes == true : answers.isYes != false,
            let owned = candidates(record).first
        else {
            throw ControllerError(.precondition, "the guest is not known to answer questions")
        }
        if let probe = lastProbe(record.row), monotonicNanoseconds() < probe + InquiryCourse.pause {
            throw ControllerError(.precondition, "the guest is probing whether its address is free (RFC 5227)")
        }
        return owned
    }

    private mutating func replayAsks(
        _ record: GuestRecord, _ owned: AnnouncementRequest.Owned
    ) throws(ControllerError) -> ReplayPlan.Asks {
        let standby = try InquiryTarget(record.guest, by: .standby, owned, using: &host.kernel.socket)
        let primary = try InquiryTarget(record.guest, by: .primary, owned, using: &host.kernel.socket)
        try shield(standby.ports)
        return ReplayPlan.Asks(ip: owned.ip, standbyTag: standby.tag, primaryTag: primary.tag)
    }

    private mutating func replayPlan(
        _ guest: GuestInterface, _ macs: [MACAddress], _ asks: ReplayPlan.Asks?, _ course: ReplayCourse
    ) throws(ControllerError) -> ReplayPlan {
        let isArriving = course == .arriving
        // Frames are sent again by the standby, and by this port.
        let uplink = isArriving ? guest.primary : guest.uplink
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
            standby: PortIdentity(standby), primary: guest.firstPort,
            uplink: isArriving ? nil : way.map { PortIdentity($0) },
            uplinkMAC: way?.mac ?? guest.addresses[0].mac, tagging: tagging, macs: macs, gap: asks,
            isArriving: isArriving, isPrimaryTap: isArriving && way?.kind == "tun")
    }

    // MARK: - The loop

    /// The guest of a replay is asked for its primary.
    package mutating func begin(_ replayer: Replayer) {
        replayer.begins(now: monotonicNanoseconds(), using: &host.kernel.socket)
    }

    /// Lets a guest's replay go on.
    ///
    /// - Parameter guests: that are asked at the same time.
    package mutating func advance(_ replayer: Replayer, of row: Int64, now: Int64, among guests: Int) {
        replayer.advance(now: now, among: guests, using: &host.kernel.socket)
        if let probe = replayer.probedAt { wards[row]?.acquaintance.probedAt = probe }
    }

    /// QEMU has stopped the guest of a replay.
    package mutating func stop(_ replayer: Replayer) { replayer.stops(using: &host.kernel.socket) }

    /// The guest of a replay was seen on another host.
    package mutating func depart(_ replayer: Replayer) {
        replayer.departs(now: monotonicNanoseconds(), using: &host.kernel.socket)
    }

    /// The guest of a replay gets its primary, or does not say whether it has: what it missed is sent there, and copies reach it.
    ///
    /// - Parameter isEvident: it takes frames by its primary.
    package mutating func arrive(_ replayer: Replayer, of row: Int64, isEvident: Bool) {
        replayer.arrives(isEvident: isEvident, using: &host.kernel.socket)
        letCopiesPass(replayer, of: row)
    }

    /// The guest of a replay answers nothing: it gets its copies until it does.
    package mutating func yield(_ replayer: Replayer, of row: Int64) {
        replayer.letsThrough(using: &host.kernel.socket)
        letCopiesPass(replayer, of: row)
    }

    private mutating func letCopiesPass(_ replayer: Replayer, of row: Int64) {
        try? keepQueue(row, nil)
        replayer.copiesPass(using: &host.kernel.socket)
    }

    /// Counts and books what a guest's replay has come to.
    package mutating func book(_ account: ReplayAccount, of guest: GuestID) {
        counters.count(account, of: guest)
        host.events.append(account, guest: guest.text, at: Stopwatch.realTime)
    }

    // MARK: - Queues

    /// What is kept out of the queue of one of a guest's ports.
    package enum QueueCare: Hashable, Sendable {
        /// The guest is awaited: what is not for it would fill its standby's queue.
        case awaited
        /// The guest gets its primary: its frames are kept, and would be copied there besides.
        case coming
    }

    /// A port, and the frames that ``QueueShield`` drops there.
    struct KeptQueue: Hashable {
        let port: Int32
        let name: String
        let kind: QueueShield.Kind
    }

    /// Copies of a guest's frames are kept out of its primary's queue.
    package func keepsCopies(_ row: Int64) -> Bool {
        if case .frames? = queues[row]?.kind { true } else { false }
    }

    /// Keeps something out of the queue of one of a guest's ports, or nothing any more; nothing where the port has others' frames too.
    ///
    /// - Throws: ``ControllerError`` of code `precondition`. If the old rule could not be removed, it stays, and the next call removes
    ///   it; otherwise no rule is left.
    package mutating func keepQueue(_ row: Int64, _ care: QueueCare?) throws(ControllerError) {
        var wanted: KeptQueue?
        if let care, let guest = watch.records[row]?.guest {
            let port = care == .awaited ? guest.standby : guest.firstPort
            // Others' frames are theirs.
            if !guest.sharesPorts, watch.rows(at: port.index).count == 1, guest.macs.count <= CaptureSocket.macLimit {
                wanted = KeptQueue(
                    port: port.index, name: port.name,
                    kind: care == .awaited ? .others(than: guest.macs) : .frames(to: guest.macs))
            }
        }
        let known = queues[row]
        if known == wanted { return }
        if let known {
            do throws(NetlinkError) {
                try QueueShield.lower(known.port, using: &host.kernel.socket)
            } catch {
                throw ControllerError(
                    .precondition, "what is kept out of the queue of \(known.name) cannot be let in", cause: error)
            }
        }
        queues[row] = nil
        guard let wanted else { return }
        do throws(NetlinkError) {
            try QueueShield.raise(wanted.kind, at: wanted.port, named: wanted.name, using: &host.kernel.socket)
            queues[row] = wanted
        } catch {
            throw ControllerError(.precondition, "the queue of \(wanted.name) cannot be kept free", cause: error)
        }
    }
}
