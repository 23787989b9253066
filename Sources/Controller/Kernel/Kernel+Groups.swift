import FDB
import Netlink
import Policy
import Records
import Switchdev
import System

extension Kernel {
    /// Reads the bridge's multicast groups when a move may need them: not where the bridge does not snoop, is down, or where
    /// everything is at its place already.
    mutating func readGroups(
        into observation: inout Observation, of guest: GuestInterface, to side: Side, phase: GuestPhase
    ) throws(ControllerError) {
        guard let bridge = observation.bridge, bridge.hasGroups, let target = guest.port(of: side) else { return }
        let isSettled = phase == .pinned && guest.side == side
        if isSettled, guest.addresses.allSatisfy({ observation.entry($0)?.port == target.index }) { return }
        let ports = guest.own.map(\.port.index) + [target.index]
        observation.groups = try ControllerError.reading("the multicast groups of \(bridge.name)") {
            () throws(NetlinkError) in try groups(of: bridge.index, on: ports)
        }
    }

    /// The memberships of some ports of a bridge, kept from one redirection to the next.
    mutating func groups(of bridge: Int32, on ports: [Int32]) throws(NetlinkError) -> GroupTable {
        var watch: GroupWatch
        if let open = groupWatch.take() { watch = open } else { watch = try GroupWatch(receiveBuffer: groupBuffer) }
        let result = Result { () throws(NetlinkError) in try watch.groups(of: bridge, on: ports, using: &socket) }
        groupWatch = consume watch
        return try result.get()
    }

    /// Lets a port join groups, on kernels before 6.3 without what they do not know.
    ///
    /// - Returns: for each request nil, or why it was refused.
    mutating func join(_ requests: [GroupRequest]) -> [NetlinkError?] {
        var answers = socket.perform(requests)
        for (index, request) in requests.enumerated() where answers[index]?.errno == .invalid {
            guard let simplified = request.simplified else { continue }
            answers[index] = socket.perform(simplified).first { $0 != nil && $0?.errno != .exists } ?? nil
        }
        return answers
    }
}
