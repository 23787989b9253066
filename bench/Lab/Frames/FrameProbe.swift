import CLab
import Glibc

/// One frame, and the ports through which it leaves a bridge: shows what a finding means in practice.
package struct FrameProbe: Sendable {
    /// The bytes as received: packet sockets see a frame without its tag.
    private let bytes: [UInt8]
    private let vlan: UInt16?

    /// The EtherType for local experiments (IEEE 802), which no protocol handler accepts.
    package static let experimental: UInt16 = 0x88b6

    /// The time to wait for a frame, in milliseconds. The slowest frame observed took a hundredth of it.
    private static let patience: Int32 = 100

    /// - Parameters:
    ///   - destination: the destination MAC.
    ///   - source: the source MAC.
    ///   - payload: the bytes after the EtherType; a number that identifies this frame follows them.
    ///   - size: the least size of the payload.
    ///   - vlan: the VLAN of the IEEE 802.1Q tag; nil for no tag.
    package init(
        to destination: String, from source: String, type: UInt16 = FrameProbe.experimental, payload: [UInt8] = [],
        size: Int = 46, vlan: UInt16? = nil
    ) {
        var bytes = Interface.octets(destination) + Interface.octets(source) + [UInt8(type >> 8), UInt8(type & 0xff)]
        bytes += payload
        for _ in 0..<8 { bytes.append(UInt8.random(in: 0...255)) }
        bytes += [UInt8](repeating: 0, count: max(0, size + 14 - bytes.count))
        self.bytes = bytes
        self.vlan = vlan
    }

    /// A gratuitous ARP: a host announces its IPv4 address to everyone.
    package static func gratuitousARP(from source: String, address: [UInt8] = [192, 0, 2, 7]) -> FrameProbe {
        let mac = Interface.octets(source)
        return FrameProbe(
            to: "ff:ff:ff:ff:ff:ff", from: source, type: UInt16(ETH_P_ARP),
            payload: [0, 1, 8, 0, 6, 4, 0, 1] + mac + address + [UInt8](repeating: 0, count: 6) + address)
    }

    /// Sends the frame, and returns the interfaces that receive it.
    ///
    /// - Parameters:
    ///   - interface: the far end of a port, from which a host would send.
    ///   - places: the far ends at which the frame may arrive.
    /// - Returns: the places that received it.
    /// - Throws: ``LabError``.
    package func send(from interface: String, lookingAt places: String...) throws -> Set<String> {
        var sockets: [(place: String, descriptor: Int32)] = []
        defer { for socket in sockets { close(socket.descriptor) } }
        for place in places {
            sockets.append((place, try Interface.open(place, type: UInt16(ETH_P_ALL), receiveBuffer: 1 << 20)))
        }
        let output = try Interface.open(interface, type: FrameProbe.experimental, receiveBuffer: 0)
        defer { close(output) }
        let tag: [UInt8] = vlan.map { [0x81, 0x00, UInt8($0 >> 8), UInt8($0 & 0xff)] } ?? []
        let frame = bytes[..<12] + tag + bytes[12...]
        guard Glibc.send(output, Array(frame), frame.count, 0) == frame.count else {
            throw LabError("cannot send on \(interface): \(String(cString: strerror(errno)))")
        }
        var found = Set<String>()
        var frames = [clab_frame](repeating: clab_frame(), count: Int(CLAB_BATCH))
        var waited: Int32 = 0
        while waited < FrameProbe.patience {
            var polled = sockets.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
            poll(&polled, nfds_t(polled.count), 10)
            waited += 10
            for socket in sockets {
                let count = clab_receive(socket.descriptor, &frames)
                for frame in frames.prefix(Int(max(0, count))) where isSame(frame) { found.insert(socket.place) }
            }
            // Later copies do not matter: only a place without a copy is waited for.
            if found.count == sockets.count { break }
        }
        return found
    }

    private func isSame(_ frame: clab_frame) -> Bool {
        guard frame.length > 0 else { return false }
        let begin = bytes.prefix(Int(CLAB_FRAME))
        return withUnsafeBytes(of: frame.bytes) { $0.prefix(begin.count).elementsEqual(begin) }
    }
}

/// A tap with a reader, like that of a running virtual machine.
package struct TapReader: ~Copyable {
    private let descriptor: Int32

    /// - Throws: ``LabError`` if the tap cannot be opened.
    package init(_ name: String) throws {
        descriptor = clab_open_tap(name)
        guard descriptor >= 0 else {
            throw LabError("cannot open tap \(name): \(String(cString: strerror(-descriptor)))")
        }
    }

    deinit { close(descriptor) }

    /// Whether a frame to this MAC has arrived since the last call.
    package func hasReceived(frameTo mac: String) -> Bool { received(framesTo: mac) > 0 }

    /// How many frames to this MAC have arrived since anything was last read.
    package func received(framesTo mac: String) -> Int {
        var bytes = [UInt8](repeating: 0, count: 2048)
        var count = 0
        while read(descriptor, &bytes, bytes.count) >= 14 {
            if Array(bytes[..<6]) == Interface.octets(mac) { count += 1 }
        }
        return count
    }
}
