import FDB
import Netlink
import Policy
import Records
import Switchdev
import System

extension Host {
    /// Reads the bridge's multicast groups when a move may need them: not where the bridge does not snoop, is down, or where
    /// everything is at its place already.
    mutating func readGroups(
        into observation: inout Observation, of guest: GuestInterface, to side: Side, phase: GuestPhase
    ) throws(ControllerError) {
        guard let bridge = observation.bridge, bridge.hasGroups, let target = guest.port(of: side) else { return }
        let isSettled = phase == .pinned && guest.side == side
        if isSettled, guest.addresses.allSatisfy({ observation.entry($0)?.port == target.index }) { return }
        let ports = [guest.primary.index, guest.standby.index, target.index]
        observation.groups = try ControllerError.reading("the multicast groups of \(bridge.name)") {
            () throws(NetlinkError) in try groups(of: bridge.index, on: ports)
        }
    }

    /// The memberships of some ports of a bridge, kept from one redirection to the next.
    mutating func groups(of bridge: Int32, on ports: [Int32]) throws(NetlinkError) -> GroupTable {
        var watch: GroupWatch
        if let open = groupWatch.take() { watch = open } else { watch = try GroupWatch() }
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

    /// Copies the memberships that came up on the old ports since the first look, then removes what is the guest's.
    ///
    /// The addresses have moved: what fails here is noted and no reason to move them back. Nothing is removed that the new
    /// port does not have.
    mutating func followGroups(
        _ move: GroupMove, row: Int64, journal: borrowing Journal, report: inout Report
    ) {
        do throws(NetlinkError) {
            let table = try groups(of: move.bridge, on: move.oldPorts.map(\.index) + [move.target])
            let late = move.additions(table, isRenewing: false)
            var copied = Set<GroupKey>()
            for (request, answer) in zip(late, join(late)) {
                if answer == nil || answer?.errno == .exists {
                    copied.insert(request.key)
                } else {
                    report.notes.append(
                        "group \(request.key) was joined during the move and not copied: "
                            + (answer?.description ?? ""))
                }
            }
            let moved = move.moved(table, copied: copied)
            report.groupMembershipsMoved = moved
            if moved > 0 { report.notes.append("\(GroupMove.words(moved)) moved") }
            let removals = removable(move.removals(table, copied: copied), row, journal, &report)
            let refused = socket.perform(removals).compactMap { $0 }.filter { KernelRefusal($0).meaning != .gone }
            if let first = refused.first {
                report.notes.append("\(GroupMove.words(refused.count)) of the old port could not be removed: \(first)")
            }
        } catch {
            report.notes.append("the multicast groups were not read again; the old port's are left to age: \(error)")
        }
    }

    /// Without those on ports that another guest was prepared for since.
    private func removable(
        _ removals: [GroupRequest], _ row: Int64, _ journal: borrowing Journal, _ report: inout Report
    ) -> [GroupRequest] {
        if removals.isEmpty { return [] }
        do throws(ControllerError) {
            var ports: [(index: Int32, isShared: Bool)] = []
            for removal in removals where !ports.contains(where: { $0.index == removal.port }) {
                ports.append((removal.port, try journal.isUsed(removal.port, byOthersThan: row)))
            }
            let own = removals.filter { removal in
                ports.contains { $0.index == removal.port && !$0.isShared }
            }
            if own.count < removals.count {
                report.notes.append("the old port serves another guest too: its memberships are left there to age")
            }
            return own
        } catch {
            report.notes.append("whose the old port is could not be read; its memberships are left to age: \(error)")
            return []
        }
    }
}
