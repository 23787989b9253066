import FDB
import Netlink
import Policy
import Records
import System

/// What is done about multicast groups once the addresses have moved.
extension Execution {
    /// Copies the memberships that came up on the old ports since the first look, then removes what is the guest's.
    ///
    /// The addresses have moved: what fails here is noted and no reason to move them back. Nothing is removed that the new
    /// port does not have.
    mutating func followGroups(_ move: GroupMove, under claim: borrowing Claim, on kernel: inout Kernel) {
        do throws(NetlinkError) {
            let table = try kernel.groups(of: move.bridge, on: move.oldPorts.map(\.index) + [move.target])
            let late = move.additions(table, isRenewing: false)
            var copied = Set<GroupKey>()
            for (request, answer) in zip(late, kernel.join(late)) {
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
            let removals = removable(move.removals(table, copied: copied), claim)
            let refused = kernel.socket.perform(removals).compactMap { $0 }.filter {
                KernelRefusal($0).meaning != .gone
            }
            if let first = refused.first {
                report.notes.append("\(GroupMove.words(refused.count)) of the old port could not be removed: \(first)")
            }
        } catch {
            report.notes.append("the multicast groups were not read again; the old port's are left to age: \(error)")
        }
    }

    /// Without those on ports that another guest was prepared for since.
    private mutating func removable(_ removals: [GroupRequest], _ claim: borrowing Claim) -> [GroupRequest] {
        if removals.isEmpty { return [] }
        do throws(ControllerError) {
            var ports: [(index: Int32, isShared: Bool)] = []
            for removal in removals where !ports.contains(where: { $0.index == removal.port }) {
                ports.append((removal.port, try claim.isUsedByOthers(removal.port)))
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
