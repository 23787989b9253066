import CLab
import Glibc

/// Interfaces of the calling thread's network namespace.
package enum Interface {
    /// The interface index of a name; nil if there is no such interface.
    package static func index(of name: String) throws -> Int32? {
        let index = if_nametoindex(name)
        return index == 0 ? nil : Int32(index)
    }

    /// The six octets of `52:54:00:...`.
    package static func octets(_ mac: String) -> [UInt8] {
        mac.split(separator: ":").compactMap { UInt8($0, radix: 16) }
    }

    /// The number of frames that an interface dropped on transmit since it was created.
    ///
    /// - Throws: ``LabError`` if there is no interface of that name.
    package static func transmitDrops(of name: String) throws -> Int {
        // This file shows the thread's namespace; /sys/class/net shows the namespace of the process that mounted it.
        for line in TextFile.read("/proc/thread-self/net/dev").split(separator: "\n") {
            let parts = line.split(separator: ":")
            guard parts.count == 2, parts[0].drop(while: { $0 == " " }) == name else { continue }
            // Eight receive counters come first, then the bytes, packets, errors and drops of transmit.
            let counters = parts[1].split(separator: " ").compactMap { Int($0) }
            if counters.count > 11 { return counters[11] }
        }
        throw LabError("there is no interface \(name)")
    }

    /// Sends one broadcast frame of an experimental EtherType from the far end of a port, and waits until the port has received
    /// it. veth queues frames, so the return of send(2) does not mean that the bridge has learned anything.
    ///
    /// - Parameters:
    ///   - interface: the name of the far end.
    ///   - source: the source MAC.
    ///   - port: the name of the bridge's port.
    /// - Throws: ``LabError``.
    package static func sendFrame(from interface: String, source: String, to port: String, type: UInt16 = 0x88b6) throws
    {
        let input = try open(port, type: UInt16(ETH_P_ALL), receiveBuffer: 1 << 16)
        defer { close(input) }
        let output = try open(interface, type: 0x88b5, receiveBuffer: 0)
        defer { close(output) }
        let frame =
            [UInt8](repeating: 0xff, count: 6) + octets(source) + [UInt8(type >> 8), UInt8(type & 0xff)]
            + [UInt8](repeating: 0, count: 46)
        guard send(output, frame, frame.count, 0) == frame.count else {
            throw LabError("cannot send on \(interface): \(String(cString: strerror(errno)))")
        }
        var received = [UInt8](repeating: 0, count: 64)
        var polled = pollfd(fd: input, events: Int16(POLLIN), revents: 0)
        repeat {
            guard poll(&polled, 1, 2000) > 0 else { throw LabError("\(port) did not receive the frame within 2 s") }
        } while recv(input, &received, received.count, 0) < 14 || Array(received[6..<12]) != octets(source)
        // The kernel calls this socket just before the bridge, in the same pass.
        usleep(2000)
    }

    /// Opens an AF_PACKET socket (packet(7)) on an interface of the calling thread's network namespace.
    ///
    /// - Parameters:
    ///   - type: the EtherType of the frames to receive; ETH_P_ALL for all, those too that leave by the interface.
    ///   - receiveBuffer: bytes; 0 for a socket that only sends.
    /// - Throws: ``LabError``.
    package static func open(_ interface: String, type: UInt16, receiveBuffer: Int32) throws(LabError) -> Int32 {
        let index = if_nametoindex(interface)
        guard index != 0 else { throw LabError("there is no interface \(interface)") }
        let descriptor = clab_packet_socket(Int32(index), type, receiveBuffer)
        guard descriptor >= 0 else {
            let hint = descriptor == -EPERM ? ": it takes CAP_NET_RAW, run as root" : ""
            throw LabError(
                "cannot open a packet socket on \(interface): \(String(cString: strerror(-descriptor)))\(hint)")
        }
        return descriptor
    }
}
