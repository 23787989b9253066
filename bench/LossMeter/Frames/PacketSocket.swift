import Glibc
import Lab

/// An AF_PACKET socket on one interface (packet(7)), which is closed when nobody refers to it.
final class PacketSocket: Sendable {
    let descriptor: Int32

    /// - Parameters:
    ///   - interface: the name of the interface, in the calling thread's network namespace.
    ///   - receiveBuffer: bytes; 0 for a socket that only sends.
    ///   - etherType: the type of the frames to receive; ETH_P_ALL for all, including those that leave through the interface.
    /// - Throws: ``LabError`` that names the interface and what is missing.
    init(interface: String, receiveBuffer: Int32, etherType: UInt16 = Frame.etherType) throws(LabError) {
        descriptor = try Interface.open(interface, type: etherType, receiveBuffer: receiveBuffer)
    }

    deinit { close(descriptor) }
}
