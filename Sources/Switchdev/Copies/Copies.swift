public import Netlink
import System

/// Makes, finds and removes copies. Nothing that is not ours is changed or removed.
public enum Copies {
    /// How a copy can be had on a port, as it is now.
    public struct Footing: Hashable, Sendable {
        /// What would make it.
        public let means: CopyMeans
        /// There is a clsact already.
        public let hasClsact: Bool
        /// Others' filters that come before ours: what they end is not copied.
        public let foreignFilters: Int

        /// Makes one from its parts.
        public init(means: CopyMeans, hasClsact: Bool, foreignFilters: Int = 0) {
            self.means = means
            self.hasClsact = hasClsact
            self.foreignFilters = foreignFilters
        }
    }

    /// Finds out how a copy can be had: by a filter in a clsact that is there, else by nftables, else by a clsact of our own.
    ///
    /// To make or remove a queueing discipline, be it a clsact, the kernel takes the whole device out of service for
    /// milliseconds (`dev_deactivate` in `qdisc_graft`, net/sched/sch_api.c), and what is sent meanwhile is lost. Filters
    /// and nftables' hooks come and go without.
    ///
    /// - Parameters:
    ///   - port: interface index of the port where the frames leave.
    ///   - name: its name.
    ///   - trying: find out whether nftables can copy by making a table and removing it in one transaction; otherwise it is
    ///     taken for granted.
    /// - Throws: ``NetlinkError``.
    public static func footing(
        on port: Int32, named name: String, trying: Bool = true, using socket: inout CommandSocket
    ) throws(NetlinkError) -> Footing {
        let atIngress = try QueueingDiscipline.all(using: &socket).first { $0.interface == port && $0.isAtIngress }
        guard let atIngress else {
            return Footing(
                means: !trying || PacketFilterTable.isAvailable(on: name) ? .nftables : .clsact, hasClsact: false)
        }
        guard atIngress.kind == "clsact" else { return Footing(means: .nftables, hasClsact: false) }
        let others = try filters(on: port, egress: true, using: &socket).count {
            $0.copy == nil && $0.preference <= TrafficControlRequest.preference
        }
        return Footing(means: .clsact, hasClsact: true, foreignFilters: others)
    }

    /// Finds out what this process needs to know before the first copy on a port, so that ``footing(on:named:trying:using:)``
    /// is quick when it matters.
    ///
    /// - Parameter name: the port's name.
    public static func prepare(on name: String) { _ = PacketFilterTable.isAvailable(on: name) }

    /// Makes a copy, or brings one that is there to the specification.
    ///
    /// - Parameters:
    ///   - specification: what to copy.
    ///   - means: as ``footing(on:named:trying:using:)`` said.
    ///   - name: the name of the port where the frames leave.
    ///   - ownsClsact: the clsact, where there is none, may be made, and is taken away again when the copy cannot be made.
    /// - Throws: ``NetlinkError``; nothing is left behind.
    public static func install(
        _ specification: CopySpecification, by means: CopyMeans, portName name: String, ownsClsact: Bool,
        using socket: inout CommandSocket
    ) throws(NetlinkError) {
        if means == .nftables {
            let table = PacketFilterTable(specification: specification)
            try socket.withPacketFilters { (socket) throws(NetlinkError) in
                if try table.state(using: &socket) != nil {
                    try PacketFilterTable.remove(label: specification.label, using: &socket)
                }
                try table.install(interface: name, using: &socket)
            }
            return
        }
        guard CopyProgram(specification).fits else {
            throw NetlinkError(.oversized, "the guest has too many addresses or VLANs for one filter")
        }
        let present = try filters(on: specification.source, egress: true, using: &socket)
        if present.contains(where: {
            $0.preference == TrafficControlRequest.preference && $0.handle == specification.number && $0.copy == nil
        }) {
            throw NetlinkError(
                .refused,
                "somebody else's filter has preference \(TrafficControlRequest.preference) and number "
                    + "\(specification.number) on \(name)")
        }
        var made = false
        if ownsClsact {
            do throws(NetlinkError) {
                try socket.perform(TrafficControlRequest.addClsact(interface: specification.source))
                made = true
            } catch {
                guard error.errno == .exists else { throw error.during("cannot add a clsact to \(name)") }
            }
        }
        do throws(NetlinkError) {
            try socket.perform(TrafficControlRequest.setCopy(specification))
        } catch {
            if made { try? socket.perform(TrafficControlRequest.deleteClsact(interface: specification.source)) }
            throw error.during("cannot add the filter that copies to \(name)")
        }
    }

    /// Removes a copy, and the clsact when it is ours and nobody else's filter is on it. What is gone already is no error.
    ///
    /// - Throws: ``NetlinkError``.
    public static func remove(
        _ specification: CopySpecification, by means: CopyMeans, ownsClsact: Bool, using socket: inout CommandSocket
    ) throws(NetlinkError) {
        let port = specification.source
        if means == .nftables {
            try socket.withPacketFilters { (socket) throws(NetlinkError) in
                try PacketFilterTable.remove(label: specification.label, using: &socket)
            }
            return
        }
        let found = try filters(on: port, egress: true, using: &socket)
        if found.contains(where: { $0.copy == specification.number }) {
            do throws(NetlinkError) {
                try socket.perform(TrafficControlRequest.deleteCopy(interface: port, number: specification.number))
            } catch {
                guard isGone(error) else { throw error.during("cannot remove the filter that copies") }
            }
        }
        guard ownsClsact else { return }
        let isThere = try QueueingDiscipline.all(using: &socket).contains {
            $0.interface == port && $0.isAtIngress && $0.kind == "clsact"
        }
        guard isThere, try filters(on: port, egress: true, using: &socket).isEmpty,
            try filters(on: port, egress: false, using: &socket).isEmpty
        else { return }
        do throws(NetlinkError) {
            try socket.perform(TrafficControlRequest.deleteClsact(interface: port))
        } catch {
            guard isGone(error) else { throw error.during("cannot remove the clsact that was made for the copy") }
        }
    }

    /// What the kernel shows of a copy; nil when there is none.
    ///
    /// - Throws: ``NetlinkError``.
    public static func state(
        _ specification: CopySpecification, by means: CopyMeans, using socket: inout CommandSocket
    ) throws(NetlinkError) -> CopyState? {
        if means == .nftables {
            return try socket.withPacketFilters { (socket) throws(NetlinkError) in
                try PacketFilterTable(specification: specification).state(using: &socket)
            }
        }
        return try filters(on: specification.source, egress: true, using: &socket)
            .first { $0.copy == specification.number }
            .map {
                CopyState(
                    frames: $0.frames, bytes: $0.bytes, failed: $0.failed, isAsSpecified: $0.makes(specification))
            }
    }

    /// The filters at one hook of a port's clsact; none without a clsact, or without the port.
    ///
    /// - Throws: ``NetlinkError``.
    public static func filters(
        on port: Int32, egress: Bool, using socket: inout CommandSocket
    ) throws(NetlinkError) -> [TrafficFilter] {
        var found: [TrafficFilter] = []
        do throws(NetlinkError) {
            try socket.dump(TrafficControlRequest.filters(interface: port, egress: egress)) {
                (header, payload) throws(NetlinkError) in
                guard header.type == .newFilter, let filter = try TrafficFilter(decoding: payload) else { return }
                found.append(filter)
            }
        } catch {
            guard isGone(error) else { throw error.during("cannot read the filters of ifindex \(port)") }
        }
        return found
    }

    private static func isGone(_ error: NetlinkError) -> Bool {
        error.code == .refused && [.noEntry, .noDevice, .invalid].contains(error.errno)
    }
}
