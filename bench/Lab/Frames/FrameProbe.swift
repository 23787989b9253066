import CLab
import Glibc

/// One frame, and where it comes out of a bridge: what a finding is worth is shown with it.
public struct FrameProbe: Sendable {
    /// As it is received: packet sockets see a frame without its tag.
    private let bytes: [UInt8]
    private let vlan: UInt16?

    /// EtherType for local experiments (IEEE 802), which no protocol handler takes.
    public static let experimental: UInt16 = 0x88b6

    /// How long to wait for a frame that does not come: the longest that one took to come is a hundredth of it.
    private static let patience: Int32 = 100

    /// - Parameters:
    ///   - destination: its MAC.
    ///   - source: its MAC.
    ///   - payload: after the EtherType; a number that tells this frame from others is put behind it.
    ///   - size: of the payload at least.
    ///   - vlan: the VLAN of its IEEE 802.1Q tag; nil for none.
    public init(
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

    /// A gratuitous ARP: a host says to everybody where its IPv4 address is.
    public static func gratuitousARP(from source: String, address: [UInt8] = [192, 0, 2, 7]) -> FrameProbe {
        let mac = Interface.octets(source)
        return FrameProbe(
            to: "ff:ff:ff:ff:ff:ff", from: source, type: UInt16(ETH_P_ARP),
            payload: [0, 1, 8, 0, 6, 4, 0, 1] + mac + address + [UInt8](repeating: 0, count: 6) + address)
    }

    /// Sends the frame and says at which interfaces it is received.
    ///
    /// - Parameters:
    ///   - interface: where a host would send it: the far end of a port.
    ///   - places: interfaces where it may come out: far ends too.
    /// - Returns: the places that received it.
    /// - Throws: ``LabError``.
    public func send(from interface: String, lookingAt places: String...) throws -> Set<String> {
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
            // Later copies are as good as this one: only a place that misses it is waited for.
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

/// A tap with a reader, as a running virtual machine is one.
public struct TapReader: ~Copyable {
    private let descriptor: Int32

    /// - Throws: ``LabError`` when the tap cannot be opened.
    public init(_ name: String) throws {
        descriptor = clab_open_tap(name)
        guard descriptor >= 0 else {
            throw LabError("cannot open tap \(name): \(String(cString: strerror(-descriptor)))")
        }
    }

    deinit { close(descriptor) }

    /// A frame to this MAC has come, since the last call.
    public func hasReceived(frameTo mac: String) -> Bool {
        var bytes = [UInt8](repeating: 0, count: 2048)
        var found = false
        while read(descriptor, &bytes, bytes.count) >= 14 {
            if Array(bytes[..<6]) == Interface.octets(mac) { found = true }
        }
        return found
    }
}
