public import Netlink
import System

/// Makes, finds and removes copies. It changes and removes only what fdbsteer made.
public enum Copies {
    /// How a port's frames can be copied at present.
    public struct Footing: Hashable, Sendable {
        /// The means that would make the copy.
        public let means: CopyMeans
        /// The port already has a clsact.
        public let hasClsact: Bool
        /// The number of foreign filters that run before ours; frames that they end are not copied.
        public let foreignFilters: Int

        /// Makes a footing from its parts.
        public init(means: CopyMeans, hasClsact: Bool, foreignFilters: Int = 0) {
            self.means = means
            self.hasClsact = hasClsact
            self.foreignFilters = foreignFilters
        }
    }

    /// Determines how to copy: by a filter in an existing clsact, else by nftables, else by a clsact of our own.
    ///
    /// When a queueing discipline is made or removed, even a clsact, the kernel takes the whole device out of service for
    /// milliseconds (`dev_deactivate` in `qdisc_graft`, net/sched/sch_api.c), and frames sent meanwhile are lost. Changes of
    /// filters and of nftables' hooks have no such effect.
    ///
    /// - Parameters:
    ///   - port: interface index of the port where the frames leave.
    ///   - name: the port's name.
    ///   - trying: tests whether nftables can copy by making a table and removing it in one transaction; otherwise it is
    ///     assumed to.
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

    /// Determines in advance what this process needs to know before the first copy on a port, so that
    /// ``footing(on:named:trying:using:)`` is fast when it matters.
    ///
    /// - Parameter name: the port's name.
    public static func prepare(on name: String) { _ = PacketFilterTable.isAvailable(on: name) }

    /// Makes a copy, or changes an existing one to the specification.
    ///
    /// - Parameters:
    ///   - specification: what to copy.
    ///   - means: the result of ``footing(on:named:trying:using:)``.
    ///   - name: the name of the port where the frames leave.
    ///   - ownsClsact: allows making a clsact if there is none; it is removed again if the copy cannot be made.
    /// - Throws: ``NetlinkError``; nothing is left behind.
    public static func install(
        _ specification: CopySpecification, by means: CopyMeans, portName name: String, ownsClsact: Bool,
        using socket: inout CommandSocket
    ) throws(NetlinkError) {
        if means == .nftables {
            let table = PacketFilterTable(specification: specification)
            try socket.withPacketFilters { (socket) throws(NetlinkError) in
                if try table.state(using: &socket) != nil {
                    try PacketFilterTable(specification: specification).remove(using: &socket)
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

    /// Removes a copy, and the clsact if it is ours and has no foreign filter. A copy that is already gone is not an error.
    ///
    /// - Throws: ``NetlinkError``.
    public static func remove(
        _ specification: CopySpecification, by means: CopyMeans, ownsClsact: Bool, using socket: inout CommandSocket
    ) throws(NetlinkError) {
        let port = specification.source
        if means == .nftables {
            try socket.withPacketFilters { (socket) throws(NetlinkError) in
                try PacketFilterTable(specification: specification).remove(using: &socket)
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

    /// Reads what the kernel shows of a copy; nil if there is none.
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

    /// The filters at one hook of a port's clsact; none if there is no clsact or no port.
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
