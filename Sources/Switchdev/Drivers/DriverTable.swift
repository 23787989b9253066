public import FDB
import System

/// The driver's own table of a bridge, if the driver shows one: the entries that hardware really has.
///
/// mlx5 shows it from Linux 6.12 on: `/sys/kernel/debug/mlx5/<device>/esw/bridge/<bridge>/fdb` (esw/bridge_debugfs.c), with
/// the columns DEV MAC VLAN PACKETS BYTES LASTUSE FLAGS.
public struct DriverTable: Hashable, Sendable {
    /// For each address the names of the ports on which the driver has it.
    public let ports: [Address: Set<String>]
    /// In bytes: a million entries.
    private static let longest = 100 << 20

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
        let path = "\(root)/\(handle.device)/esw/bridge/\(bridge)/fdb"
        guard let bytes = try? SystemFile.contents(of: path, limit: longest) else { return nil }
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
