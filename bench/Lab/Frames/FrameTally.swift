import CLab
import Glibc

/// Numbered frames, and how often each arrived at each of several interfaces; it also counts copies on one path.
package final class FrameTally {
    private let places: [(name: String, descriptor: Int32)]
    private let run = (0..<4).map { _ in UInt8.random(in: 0...255) }
    private static let numberOffset = 18

    /// The number of arrivals by frame number.
    package typealias Counts = [UInt32: Int]

    /// - Parameter places: the interfaces to listen on, in the calling thread's network namespace.
    /// - Throws: ``LabError``.
    package init(_ places: [String]) throws {
        var opened: [(String, Int32)] = []
        for place in places {
            opened.append((place, try Interface.open(place, type: UInt16(ETH_P_ALL), receiveBuffer: 8 << 20)))
        }
        self.places = opened
    }

    deinit { places.forEach { close($0.descriptor) } }

    /// Sends frames 0, 1, 2 ... from an interface and waits until no more arrive.
    ///
    /// - Parameters:
    ///   - count: the number of frames.
    ///   - interface: the interface to send from.
    ///   - destination: the destination MAC.
    ///   - source: the source MAC.
    ///   - vlan: the VLAN of a tag; nil for no tag.
    ///   - tagType: the tag's type: 0x8100 (IEEE 802.1Q) or 0x88a8 (802.1ad).
    ///   - during: called before each frame with the frame's number.
    /// - Returns: the counts for each place.
    /// - Throws: ``LabError``, or an error that `during` throws.
    package func send(
        _ count: Int, from interface: String, to destination: String, source: String, vlan: UInt16? = nil,
        tagType: UInt16 = 0x8100, during: (Int) throws -> Void = { _ in }
    ) throws -> [String: Counts] {
        let output = try Interface.open(interface, type: FrameProbe.experimental, receiveBuffer: 0)
        defer { close(output) }
        let tag: [UInt8] = vlan.map { vlan in [tagType, vlan].flatMap { [UInt8($0 >> 8), UInt8($0 & 0xff)] } } ?? []
        let type = [UInt8(FrameProbe.experimental >> 8), UInt8(FrameProbe.experimental & 0xff)]
        let head = Interface.octets(destination) + Interface.octets(source) + tag + type + run
        var arrived = Dictionary(uniqueKeysWithValues: places.map { ($0.name, Counts()) })
        for number in 0..<UInt32(count) {
            try during(Int(number))
            let frame = head + withUnsafeBytes(of: number.bigEndian) { Array($0) } + [UInt8](repeating: 0, count: 42)
            guard Glibc.send(output, frame, frame.count, 0) == frame.count else {
                throw LabError("cannot send on \(interface): \(String(cString: strerror(errno)))")
            }
            if number % 64 == 63 { _ = collect(into: &arrived) }
        }
        var quiet = 0
        while quiet < 5 {
            usleep(5000)
            quiet = collect(into: &arrived) ? 0 : quiet + 1
        }
        return arrived
    }

    /// Counts in which each of the frames arrived once.
    package static func once(_ count: Int) -> Counts {
        Dictionary(uniqueKeysWithValues: (0..<UInt32(count)).map { ($0, 1) })
    }

    private func collect(into arrived: inout [String: Counts]) -> Bool {
        var frames = [clab_frame](repeating: clab_frame(), count: Int(CLAB_BATCH))
        var found = false
        for place in places {
            while case let count = clab_receive(place.descriptor, &frames), count > 0 {
                for frame in frames.prefix(Int(count)) where frame.length > 0 {
                    withUnsafeBytes(of: frame.bytes) { bytes in
                        // A packet socket shows a frame without its tag.
                        guard bytes[14..<18].elementsEqual(run) else { return }
                        let number = bytes.loadUnaligned(fromByteOffset: Self.numberOffset, as: UInt32.self).bigEndian
                        arrived[place.name]?[number, default: 0] += 1
                        found = true
                    }
                }
            }
        }
        return found
    }
}
