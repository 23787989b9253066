import FDB
import Glibc
package import Netlink
package import Policy
import System

/// Sends a guest's announcements out of the uplink, past the bridge: nothing on this host learns from them.
package final class Announcer {
    /// The frames of one round.
    package let frames: [[UInt8]]
    private let descriptor: Int32
    private let port: String

    /// - Parameters:
    ///   - frames: of one round.
    ///   - port: the uplink.
    /// - Throws: ``NetlinkError`` of code `system`.
    package init(_ frames: [[UInt8]], port: PortIdentity) throws(NetlinkError) {
        descriptor = try openPacketSocket(on: port.index, named: port.name)
        self.frames = frames
        self.port = port.name
    }

    deinit { closePacketSocket(descriptor) }

    /// Sends each frame once.
    ///
    /// - Throws: ``NetlinkError`` of code `system` when the port does not take them.
    package func sendRound() throws(NetlinkError) {
        for frame in frames {
            try systemCall("sending on \(port)") { Int32(send(descriptor, frame, frame.count, 0)) }
        }
    }
}

/// What was announced.
package struct AnnouncementReport: Hashable, Sendable, Encodable {
    /// The guest interface's name.
    package let guest: String
    /// The port that the frames left by.
    package let port: String
    /// Frames of one round.
    package let frames: Int
    /// Rounds.
    package let rounds: Int
    /// Addresses that could not be announced, and why.
    package let notes: [String]
}
