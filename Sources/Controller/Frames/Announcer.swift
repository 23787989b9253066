import CNetlink
import FDB
import Glibc
public import Netlink
public import Policy
import System

/// Sends a guest's announcements out of the uplink, past the bridge: nothing on this host learns from them.
public struct Announcer: ~Copyable {
    /// The frames of one round.
    public let frames: [[UInt8]]
    private let descriptor: Int32
    private let port: String

    /// - Parameters:
    ///   - frames: of one round.
    ///   - port: the uplink.
    /// - Throws: ``NetlinkError`` of code `system`.
    public init(_ frames: [[UInt8]], port: PortIdentity) throws(NetlinkError) {
        descriptor = try systemCall("opening a packet socket on \(port.name)") {
            let result = cn_packet_socket(port.index, nil, 0)
            if result < 0 { errno = -result }
            return result < 0 ? -1 : result
        }
        self.frames = frames
        self.port = port.name
    }

    deinit { closePacketSocket(descriptor) }

    /// Sends each frame once.
    ///
    /// - Throws: ``NetlinkError`` of code `system` when the port does not take them.
    public func sendRound() throws(NetlinkError) {
        for frame in frames {
            try systemCall("sending on \(port)") { Int32(send(descriptor, frame, frame.count, 0)) }
        }
    }
}

/// What was announced.
public struct AnnouncementReport: Hashable, Sendable, Encodable {
    /// The guest interface's name.
    public let guest: String
    /// The port that the frames left by.
    public let port: String
    /// Frames of one round.
    public let frames: Int
    /// Rounds.
    public let rounds: Int
    /// Addresses that could not be announced, and why.
    public let notes: [String]
}
