import CNetlink
import FDB
import Glibc
import Netlink
import Switchdev
import System

/// Where frames are received before they are kept: one for all sockets of a thread. No core dump has it.
final class CaptureBuffer {
    /// Bytes for one frame: 64 KiB with segmentation offload, its `struct virtio_net_hdr`, and a VLAN tag.
    static let room = 66 << 10
    static let bytes = room * Int(CN_CAPTURE_MOST)

    let memory: UnsafeMutableRawPointer

    /// - Returns: nil without memory.
    init?() {
        guard let memory = cn_private_memory(CaptureBuffer.bytes) else { return nil }
        self.memory = memory
    }

    deinit { munmap(memory, CaptureBuffer.bytes) }
}

/// A packet socket that sees what leaves by a guest's port, and the guest's answers to questions (``Ask``) that come in by it. Nobody is
/// woken by it: what was seen waits until it is read.
struct CaptureSocket: ~Copyable {
    /// What is read of a frame that is only counted, or that answers a question.
    private static let snap: UInt32 = 128
    /// The socket's queue, in bytes of memory: some 3,000 small frames.
    private static let queue: Int32 = 8 << 20

    private let descriptor: Int32
    /// Frames that were seen and could not be read: their place among the others is not known.
    private var faults: UInt32 = 0

    /// - Parameters:
    ///   - macs: frames to them are read as a whole.
    /// - Throws: ``NetlinkError`` of code `system`.
    init(on port: Int32, named name: String, to macs: [MACAddress]) throws(NetlinkError) {
        descriptor = try openDetailedSocket(
            on: port, named: name, CaptureSocket.filter(macs), queue: CaptureSocket.queue)
    }

    deinit { closePacketSocket(descriptor) }

    /// Whether every frame was seen since this was last asked: the socket's queue had room for all.
    mutating func isComplete() -> Bool {
        defer { faults = 0 }
        return cn_packet_drops(descriptor) == 0 && faults == 0
    }

    /// Reads some of the frames that were seen.
    ///
    /// - Returns: how many; fewer than `CN_CAPTURE_MOST` when there are no more.
    mutating func take(
        through buffer: CaptureBuffer, _ body: (UnsafeMutableRawBufferPointer, cn_captured) -> Void
    ) -> Int {
        let descriptor = descriptor
        var isFaulty = false
        defer { if isFaulty { faults += 1 } }
        return withUnsafeTemporaryAllocation(of: cn_captured.self, capacity: Int(CN_CAPTURE_MOST)) { frames in
            guard let base = frames.baseAddress else { return 0 }
            var count = cn_capture(descriptor, buffer.memory, UInt32(CaptureBuffer.room), base)
            // Told once when the port goes down; what was seen before is still there.
            if count == -ENETDOWN { count = cn_capture(descriptor, buffer.memory, UInt32(CaptureBuffer.room), base) }
            isFaulty = count < 0 && count != -EAGAIN && count != -ENETDOWN
            for index in 0..<max(0, Int(count)) {
                let length = Int(frames[index].length)
                guard length >= Int(CN_VNET_HEADER) + 14 else { continue }
                body(
                    UnsafeMutableRawBufferPointer(
                        start: buffer.memory + index * CaptureBuffer.room, count: length), frames[index])
            }
            return max(0, Int(count))
        }
    }

    /// The most of a guest's MACs: each is four instructions of the filter.
    static let macLimit = 64

    /// Frames that leave, whole where they go to one of the MACs; answers that come in, and the guest's own probes (RFC 5227).
    private static func filter(_ macs: [MACAddress]) -> [sock_filter] {
        let (equal, step, end) = (BPF_JMP | BPF_JEQ | BPF_K, FrameFilter.step, BPF_RET | BPF_K)
        let (byte, half, word) = (BPF_LD | BPF_B | BPF_ABS, BPF_LD | BPF_H | BPF_ABS, BPF_LD | BPF_W | BPF_ABS)
        var program =
            [
                step(byte, UInt32(bitPattern: Int32(CN_FRAME_KIND)), 0, 0), step(equal, UInt32(PACKET_OUTGOING), 9, 0),
            ] + FrameFilter.acceptAnswers(octets: snap)
        for mac in macs {
            program += [
                step(word, 2, 0, 0), step(equal, UInt32(truncatingIfNeeded: mac.value), 0, 3),
                step(half, 0, 0, 0), step(equal, UInt32(truncatingIfNeeded: mac.value >> 32), 0, 1),
                step(end, UInt32(CaptureBuffer.room), 0, 0),
            ]
        }
        return program + [step(end, snap, 0, 0)]
    }
}

/// A packet socket whose frames have a `struct virtio_net_hdr` before them.
///
/// - Parameter queue: bytes that it may queue; 0 for a socket that only sends.
/// - Throws: ``NetlinkError`` of code `system`.
private func openDetailedSocket(
    on port: Int32, named name: String, _ filter: [sock_filter], queue: Int32
) throws(NetlinkError) -> Int32 {
    let descriptor = try openPacketSocket(on: port, named: name, filter)
    let result = cn_packet_details(descriptor, queue)
    if result == 0 { return descriptor }
    closePacketSocket(descriptor)
    throw NetlinkError(.system, "cannot keep frames of \(name)", errno: KernelErrno(rawValue: -result))
}

/// A packet socket that puts kept frames out.
struct ReplaySocket: ~Copyable {
    private let descriptor: Int32

    /// - Parameter mark: SO_MARK of what it sends; 0: none.
    /// - Throws: ``NetlinkError`` of code `system`.
    init(on port: Int32, named name: String, mark: UInt32 = 0) throws(NetlinkError) {
        descriptor = try openDetailedSocket(on: port, named: name, [], queue: 0)
        var mark = mark
        setsockopt(descriptor, SOL_SOCKET, SO_MARK, &mark, socklen_t(MemoryLayout<UInt32>.size))
    }

    deinit { closePacketSocket(descriptor) }

    /// Sends a frame with what goes before it.
    ///
    /// - Returns: whether the port took it.
    func send(_ bytes: UnsafeRawBufferPointer) -> Bool {
        Glibc.send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_DONTWAIT)) == bytes.count
    }
}
