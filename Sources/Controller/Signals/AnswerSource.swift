import Glibc
import Netlink
import Policy
import Switchdev
import System

/// Asks the guest by one of its ports until it answers.
final class AnswerSource: SignalSource {
    private var inquirer: Inquirer?
    private let target: InquiryTarget
    /// Owns the table that keeps answers from others.
    private var socket: CommandSocket
    /// The ports with the names for which that was made.
    private var shielded: [PortIdentity]

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
        let target = try InquiryTarget(guest, by: side, owned, using: &socket)
        var own: CommandSocket
        do throws(NetlinkError) { own = try CommandSocket() } catch {
            throw ControllerError(.precondition, "the guest cannot be asked", cause: error)
        }
        try InquiryTarget.shield(target.ports, using: &own)
        (self.target, shielded) = (target, target.ports)
        self.socket = own
    }

    /// The kernel binds the table's chains to names: it is made anew for a port that has another one.
    ///
    /// - Returns: why answers cannot be kept from others any more; nil where they are.
    private func reshield() -> String? {
        for (place, port) in shielded.enumerated() {
            var buffer = [CChar](repeating: 0, count: Int(IF_NAMESIZE))
            // A port that is gone answers nothing.
            guard if_indextoname(UInt32(bitPattern: port.index), &buffer) != nil else { continue }
            let name = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            if name == port.name { continue }
            var renamed = port
            renamed.name = name
            try? AskShield.lower(port.index, using: &socket)
            do throws(ControllerError) { try InquiryTarget.shield([renamed], using: &socket) } catch {
                return "\(error)"
            }
            shielded[place] = renamed
        }
        return nil
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
        // Before the next question.
        if let reason = reshield() { return .never(reason) }
        return switch inquirer?.advance(now: now) {
        case .answered(let nanoseconds, _):
            .came("\(target.ip) answered by \(target.port.name) in \(nanoseconds / 1000) us")
        case .cannot(let reason): .never(reason)
        case .silent, nil: .notYet
        }
    }
}
