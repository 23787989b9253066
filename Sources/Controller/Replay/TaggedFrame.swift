import CNetlink

/// A frame behind a `struct virtio_net_hdr`, with a VLAN tag put in.
enum TaggedFrame {
    /// VIRTIO_NET_HDR_F_NEEDS_CSUM of linux/virtio_net.h.
    private static let needsChecksum: UInt8 = 1

    /// - Parameter result: four bytes longer than the frame.
    static func write(
        _ frame: UnsafeRawBufferPointer, type: UInt16, control: UInt16, to result: UnsafeMutableRawBufferPointer
    ) {
        let header = Int(CN_VNET_HEADER)
        result.copyMemory(from: UnsafeRawBufferPointer(rebasing: frame[..<(header + 12)]))
        for (offset, value) in [(header + 12, type), (header + 14, control)] {
            result.storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt16.self)
        }
        UnsafeMutableRawBufferPointer(rebasing: result[(header + 16)...]).copyMemory(
            from: UnsafeRawBufferPointer(rebasing: frame[(header + 12)...]))
        // hdr_len and csum_start count from the frame's beginning.
        func shift(_ offset: Int) {
            let value = result.loadUnaligned(fromByteOffset: offset, as: UInt16.self)
            if value != 0 { result.storeBytes(of: value &+ 4, toByteOffset: offset, as: UInt16.self) }
        }
        shift(2)
        if result[0] & needsChecksum != 0 { shift(6) }
    }
}
