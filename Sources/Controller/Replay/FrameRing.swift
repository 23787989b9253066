import CNetlink
import Glibc

/// Frames that were sent to a guest, in the order in which its port took them. They are in memory that no core dump has, and are gone
/// with this object.
final class FrameRing {
    /// A frame that is kept.
    struct Kept {
        /// Its number among all frames that were seen on the port.
        let number: UInt64
        /// A `struct virtio_net_hdr` and the frame.
        let bytes: UnsafeMutableRawBufferPointer
        /// The VLAN tag that is not among the bytes, its type first; 0: none.
        let tag: (type: UInt16, control: UInt16)
    }

    private struct Place {
        var number: UInt64 = 0
        var offset = 0
        var length = 0
        var tag: (type: UInt16, control: UInt16) = (0, 0)
    }

    /// Frames and bytes of one guest: a second of 4,000 frames a second, and a hundred with segmentation offload (64 KiB).
    static let mostFrames = 4096
    static let mostBytes = 8 << 20

    private let memory: UnsafeMutableRawPointer
    private let places = UnsafeMutablePointer<Place>.allocate(capacity: FrameRing.mostFrames)
    private var head = 0
    private(set) var count = 0
    private var end = 0
    private var overflow = 0

    /// - Returns: nil without memory. Pages that are never written to use none.
    init?() {
        guard let memory = cn_private_memory(FrameRing.mostBytes) else { return nil }
        self.memory = memory
        places.initialize(repeating: Place(), count: FrameRing.mostFrames)
    }

    deinit {
        munmap(memory, FrameRing.mostBytes)
        places.deallocate()
    }

    /// Keeps a frame behind the others; the newest are dropped where there is no room.
    func keep(_ frame: UnsafeRawBufferPointer, number: UInt64, tag: (type: UInt16, control: UInt16)) {
        guard count < FrameRing.mostFrames, let offset = room(for: frame.count), let base = frame.baseAddress else {
            overflow += 1
            return
        }
        memcpy(memory + offset, base, frame.count)
        places[(head + count) % FrameRing.mostFrames] = Place(
            number: number, offset: offset, length: frame.count, tag: tag)
        count += 1
        end = offset + frame.count
    }

    /// How many frames there was no room for since this was last asked.
    func takeOverflow() -> Int {
        defer { overflow = 0 }
        return overflow
    }

    /// Forgets the frames before a number.
    func forget(before number: UInt64) {
        while count > 0, places[head].number < number {
            head = (head + 1) % FrameRing.mostFrames
            count -= 1
        }
    }

    /// The frames with numbers of a range, the oldest first, until `body` says that it has enough.
    func forEach(in range: Range<UInt64>, _ body: (Kept) -> Bool) {
        for index in 0..<count {
            let place = places[(head + index) % FrameRing.mostFrames]
            if place.number >= range.upperBound { return }
            if place.number < range.lowerBound { continue }
            let bytes = UnsafeMutableRawBufferPointer(start: memory + place.offset, count: place.length)
            if !body(Kept(number: place.number, bytes: bytes, tag: place.tag)) { return }
        }
    }

    /// Where a frame fits in one piece; never so that it ends where the oldest begins, which would look like an empty ring.
    private func room(for length: Int) -> Int? {
        guard count > 0 else { return length <= FrameRing.mostBytes ? 0 : nil }
        let oldest = places[head].offset
        guard end > oldest else { return oldest - end > length ? end : nil }
        if FrameRing.mostBytes - end >= length { return end }
        return oldest > length ? 0 : nil
    }
}
