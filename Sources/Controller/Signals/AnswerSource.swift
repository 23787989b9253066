import Netlink
import Policy
import Switchdev
import System

/// Asks the guest by one of its ports until it answers.
final class AnswerSource: SignalSource {
    private var inquirer: Inquirer?
    private let target: InquiryTarget

    /// - Parameters:
    ///   - port: `primary`, `standby`, `local`, or the name of that port.
    ///   - owned: the guest's IP address.
    /// - Throws: ``ControllerError`` of codes `precondition` and `usage`.
    init(
        _ port: String, _ owned: AnnouncementRequest.Owned, of guest: GuestInterface,
        using socket: inout CommandSocket
    ) throws(ControllerError) {
        guard let side = guest.own.first(where: { port == $0.side.rawValue || port == $0.port.name })?.side else {
            throw ControllerError(
                .precondition,
                "guest \(guest.id) cannot be asked by \(port): that port does not lead to the guest on this host",
                remedy: "write \(guest.own.map { "answer:\($0.side.rawValue)" }.joined(separator: " or "))")
        }
        target = try InquiryTarget(guest, by: side, owned, using: &socket)
        try InquiryTarget.shield(target.ports, using: &socket)
    }

    var descriptor: Int32 { inquirer?.descriptor ?? -1 }
    var deadline: Int64? { inquirer?.due }

    func begin() throws(ControllerError) {
        do throws(NetlinkError) {
            inquirer = try Inquirer(target, .waiting, now: monotonicNanoseconds())
        } catch {
            throw ControllerError(.precondition, "cannot ask by \(target.port.name)", cause: error)
        }
    }

    func look(now: Int64, isFirst: Bool) -> SignalVerdict {
        switch inquirer?.advance(now: now) {
        case .answered(let nanoseconds, _):
            .came("\(target.ip) answered by \(target.port.name) in \(nanoseconds / 1000) us")
        case .cannot(let reason): .never(reason)
        case .silent, nil: .notYet
        }
    }
}
