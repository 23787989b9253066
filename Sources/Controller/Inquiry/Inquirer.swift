import CNetlink
import FDB
import Glibc
import Netlink
package import Policy
import Switchdev
import System

/// Asks a guest by one of its ports, without blocking, until it answers or the pace ends (docs/asking.md). Its packet sockets live as
/// long as the inquiry: at other times a guest wakes nobody.
package struct Inquirer: ~Copyable {
    let target: InquiryTarget
    private var course: InquiryCourse
    /// What has input when one of the sockets has.
    private let events: EventSet
    /// One for each of the target's ports.
    private let sockets: [Int32]
    private var strangers = 0
    /// Why the port took none of the questions so far.
    private var failure: Int32?

    /// Frames that are read before others get their turn.
    private static let framesPerTurn = 64
    /// Frames that answer nothing; a guest that sends so many to the reserved MACs wants to keep somebody busy.
    private static let mostStrangers = 4096

    /// The answers are kept from others already (``InquiryTarget/raiseShield(using:)``).
    ///
    /// - Throws: ``NetlinkError`` of code `system`.
    init(_ target: InquiryTarget, _ pace: InquiryPace, now: Int64) throws(NetlinkError) {
        let set: EventSet
        do throws(SystemError) {
            set = try EventSet()
        } catch {
            throw NetlinkError(.system, "cannot wait for answers", errno: error.errno)
        }
        let filter = Inquirer.filter
        var opened: [Int32] = []
        do throws(NetlinkError) {
            for port in target.ports {
                opened.append(
                    try systemCall("opening a packet socket on \(port.name)") {
                        let result = cn_packet_socket(port.index, filter, UInt16(filter.count))
                        if result < 0 { errno = -result }
                        return result < 0 ? -1 : result
                    })
            }
        } catch {
            for socket in opened { closePacketSocket(socket) }
            throw error
        }
        for socket in opened { set.watch(socket, token: 0) }
        self.target = target
        course = InquiryCourse(pace, firstNumber: .random(in: 0...UInt16.max), now: now)
        events = set
        sockets = opened
    }

    deinit { for socket in sockets { closePacketSocket(socket) } }

    /// For poll(2).
    package var descriptor: Int32 { events.descriptor }
    /// When to look at it again, on CLOCK_MONOTONIC in nanoseconds; nil once it is over.
    package var due: Int64? { course.due }

    /// Takes what has come, and puts the next question if it is due.
    ///
    /// - Returns: the result, once there is one.
    package mutating func advance(now: Int64) -> InquiryResult? {
        for socket in sockets { take(from: socket, now: now) }
        if let number = course.ask(now: now) { put(number) }
        if case .silent = course.result, let failure {
            return .cannot("\(target.port.name) takes no frames: \(String(cString: strerror(failure)))")
        }
        return course.result
    }

    private mutating func put(_ number: UInt16) {
        let frame = Ask(place: target.place, number: number).frame(to: target.ip, tag: target.tag)
        let isAsked = target.ports.firstIndex { $0.index == target.port.index }
        guard let isAsked else { return }
        // What the port has no room for, or drops while it is down, is as lost as what the guest does not take.
        if send(sockets[isAsked], frame, frame.count, 0) < 0 { failure = errno } else { failure = nil }
        if let failure, failure == ENXIO || failure == ENODEV { course.stop("port \(target.port.name) is gone") }
    }

    private mutating func take(from socket: Int32, now: Int64) {
        withUnsafeTemporaryAllocation(byteCount: 128, alignment: 8) { buffer in
            for _ in 0..<Inquirer.framesPerTurn {
                let count = recv(socket, buffer.baseAddress, buffer.count, 0)
                // ENETDOWN is told once when the port goes down.
                if count < 0, errno == EINTR || errno == ENETDOWN { continue }
                if count < 0 { return }
                hear(UnsafeRawBufferPointer(rebasing: buffer[..<count]), now: now)
            }
        }
    }

    private mutating func hear(_ frame: UnsafeRawBufferPointer, now: Int64) {
        let heard = GuestWord.decode(frame)
        switch heard?.word {
        case .answer(let ask, target.ip) where ask.place == target.place && isGuests(heard?.from):
            course.hear(answerTo: ask.number, now: now)
        case .probe(target.ip) where isGuests(heard?.from): course.hearProbe(now: now)
        default:
            strangers += 1
            if strangers > Inquirer.mostStrangers { course.stop("the guest floods the MACs that it was asked from") }
        }
    }

    private func isGuests(_ mac: MACAddress?) -> Bool { mac.map { target.macs.contains($0) } ?? false }

    /// Accepts frames that come in and go to a question's source, and ARP without a sender's address.
    private static let filter: [sock_filter] = {
        func step(_ code: Int32, _ value: UInt32, yes: UInt8 = 0, no: UInt8 = 0) -> sock_filter {
            sock_filter(code: UInt16(code), jt: yes, jf: no, k: value)
        }
        let equal = BPF_JMP | BPF_JEQ | BPF_K
        let prefix = UInt32(truncatingIfNeeded: Ask(place: 0, number: 0).mac.value >> 24)
        return [
            step(BPF_LD | BPF_B | BPF_ABS, UInt32(bitPattern: Int32(CN_FRAME_KIND))),
            step(equal, UInt32(PACKET_OUTGOING), yes: 8, no: 0),
            step(BPF_LD | BPF_W | BPF_ABS, 0), step(BPF_ALU | BPF_RSH | BPF_K, 8), step(equal, prefix, yes: 4, no: 0),
            step(BPF_LD | BPF_H | BPF_ABS, 12), step(equal, UInt32(ETH_P_ARP), yes: 0, no: 3),
            // The sender's IPv4 address.
            step(BPF_LD | BPF_W | BPF_ABS, 28), step(equal, 0, yes: 0, no: 1),
            step(BPF_RET | BPF_K, 128), step(BPF_RET | BPF_K, 0),
        ]
    }()
}
