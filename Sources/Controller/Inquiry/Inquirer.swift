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
    /// One for each of the target's ports.
    private let sockets: InquirySockets
    private var strangers = 0
    /// Why the port took none of the questions so far.
    private var failure: Int32?

    /// Frames that are read before others get their turn.
    private static let framesPerTurn = 64
    /// Frames that answer nothing; a guest that sends so many to the reserved MACs wants to keep somebody busy.
    private static let mostStrangers = 4096

    /// The answers are kept from others already (``InquiryTarget/shield(_:using:)``).
    ///
    /// - Throws: ``NetlinkError`` of code `system`.
    init(_ target: InquiryTarget, _ pace: InquiryPace, probedAt: Int64? = nil, now: Int64) throws(NetlinkError) {
        sockets = try InquirySockets(on: target.ports, Inquirer.filter)
        self.target = target
        course = InquiryCourse(pace, firstNumber: .random(in: 0...UInt16.max), probedAt: probedAt, now: now)
    }

    /// For poll(2).
    package var descriptor: Int32 { sockets.descriptor }
    /// When the guest was last heard to probe the address (RFC 5227), on CLOCK_MONOTONIC in nanoseconds.
    var probedAt: Int64? { course.probedAt }
    /// When to look at it again, on CLOCK_MONOTONIC in nanoseconds; nil once it is over.
    package var due: Int64? { course.due }

    /// Reads the answers that have arrived, and asks again if the next question is due.
    ///
    /// - Returns: the result, once there is one.
    package mutating func advance(now: Int64) -> InquiryResult? {
        var words: [(MACAddress, GuestWord)?] = []
        sockets.take(most: Inquirer.framesPerTurn) { words.append(GuestWord.decode($0)) }
        for word in words { hear(word, now: now) }
        if let number = course.ask(now: now) { put(number) }
        if case .silent = course.result, let failure {
            return .cannot("\(target.port.name) takes no frames: \(String(cString: strerror(failure)))")
        }
        return course.result
    }

    private mutating func put(_ number: UInt16) {
        let frame = Ask(place: target.place, number: number).frame(to: target.ip, tag: target.tag)
        guard let isAsked = target.ports.firstIndex(where: { $0.index == target.port.index }) else { return }
        // What the port has no room for, or drops while it is down, is as lost as what the guest does not take.
        failure = sockets.send(frame, by: isAsked)
        if let failure, failure == ENXIO || failure == ENODEV { course.stop("port \(target.port.name) is gone") }
    }

    private mutating func hear(_ heard: (MACAddress, GuestWord)?, now: Int64) {
        switch heard {
        case (let mac, .answer(let ask, target.ip))? where ask.place == target.place && target.macs.contains(mac):
            course.hear(answerTo: ask.number, by: mac, now: now)
        // A replay asks too.
        case (let mac, .answer)? where target.macs.contains(mac): break
        case (let mac, .probe(target.ip))? where target.macs.contains(mac): course.hearProbe(now: now)
        default:
            strangers += 1
            if strangers > Inquirer.mostStrangers { course.stop("the guest floods the MACs that it was asked from") }
        }
    }

    /// Accepts frames that come in and go to a question's source, and ARP without a sender's address.
    private static let filter: [sock_filter] =
        [
            FrameFilter.step(BPF_LD | BPF_B | BPF_ABS, UInt32(bitPattern: Int32(CN_FRAME_KIND))),
            FrameFilter.step(BPF_JMP | BPF_JEQ | BPF_K, UInt32(PACKET_OUTGOING), yes: 8),
        ] + FrameFilter.acceptAnswers(octets: 128)
}
