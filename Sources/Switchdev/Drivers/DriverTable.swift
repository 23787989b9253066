public import FDB
import Glibc

/// The driver's own table of a bridge, if the driver shows one: the entries that hardware really has.
///
/// mlx5 shows it from Linux 6.12 on: `/sys/kernel/debug/mlx5/<device>/esw/bridge/<bridge>/fdb` (esw/bridge_debugfs.c), with
/// the columns DEV MAC VLAN PACKETS BYTES LASTUSE FLAGS.
public struct DriverTable: Hashable, Sendable {
    /// For each address the names of the ports on which the driver has it.
    public let ports: [Address: Set<String>]

    /// Reads the table of a bridge from a device.
    ///
    /// - Parameters:
    ///   - handle: the eswitch's device.
    ///   - bridge: the bridge's name.
    ///   - root: the folder in which debugfs shows mlx5's devices; tests use another one.
    /// - Returns: nil if there is no such file, or it cannot be read (only root can read debugfs).
    public static func read(
        _ handle: DevlinkHandle, bridge: String, root: String = "/sys/kernel/debug/mlx5"
    ) -> DriverTable? {
        guard !handle.device.contains("/"), !bridge.contains("/") else { return nil }
        let descriptor = open("\(root)/\(handle.device)/esw/bridge/\(bridge)/fdb", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16384)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes.append(contentsOf: chunk[..<count])
        }
        return DriverTable(parsing: String(decoding: bytes, as: UTF8.self))
    }

    /// Parses the text and skips lines that are not entries.
    public init(parsing text: String) {
        var ports: [Address: Set<String>] = [:]
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ", omittingEmptySubsequences: true)
            guard words.count >= 3, let mac = MACAddress(words[1]), let number = UInt16(words[2]),
                let address = try? Address(mac: mac, vlan: VLANID(rawValue: number))
            else { continue }
            ports[address, default: []].insert(String(words[0]))
        }
        self.ports = ports
    }
}
