import CLab
import Glibc

/// Interfaces of the calling thread's network namespace.
public enum Interface {
    /// The interface index of a name, nil when there is none.
    public static func index(of name: String) throws -> Int32? {
        let index = if_nametoindex(name)
        return index == 0 ? nil : Int32(index)
    }

    /// The six octets of `52:54:00:...`.
    public static func octets(_ mac: String) -> [UInt8] {
        mac.split(separator: ":").compactMap { UInt8($0, radix: 16) }
    }

    /// Sends one broadcast frame of an experimental EtherType, as a host behind the interface would.
    ///
    /// - Parameters:
    ///   - interface: the name.
    ///   - source: the source MAC.
    /// - Throws: ``LabError``.
    public static func sendFrame(from interface: String, source: String) throws {
        guard let index = try index(of: interface) else { throw LabError("there is no interface \(interface)") }
        let descriptor = clab_packet_socket(index, 0x88b5, 0)
        guard descriptor >= 0 else {
            throw LabError("cannot open a packet socket on \(interface): \(String(cString: strerror(-descriptor)))")
        }
        defer { close(descriptor) }
        var frame = [UInt8](repeating: 0xff, count: 6) + octets(source) + [0x88, 0xb6]
        frame += [UInt8](repeating: 0, count: 46)
        guard send(descriptor, frame, frame.count, 0) == frame.count else {
            throw LabError("cannot send on \(interface): \(String(cString: strerror(errno)))")
        }
    }
}
