import CNetlink
import Glibc

/// What is known of a network driver with a bridge offload, from its source.
public struct Driver: Hashable, Sendable {
    /// What the hardware does with a frame whose destination has no entry.
    public enum Miss: String, Hashable, Sendable {
        /// Floods it to every port of the VLAN, in hardware: a guest that is behind a software port leaks.
        case floods
        /// Hands it to the software bridge: a guest behind a software port costs CPU, and nothing leaks.
        case slowPath = "slow path"
        /// Not known.
        case unknown
    }

    /// The name that the driver gives itself (ETHTOOL_GDRVINFO).
    public let name: String
    /// What the hardware does with a frame whose destination has no entry.
    public let miss: Miss

    /// Reads the driver of an interface in the calling thread's network namespace.
    ///
    /// - Returns: nil when the interface has no driver to speak of.
    public init?(interface: String) {
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [CChar](repeating: 0, count: 32)
        var firmware = bytes
        guard cn_driver_information(descriptor, interface, &bytes, &firmware) == 0 else { return nil }
        self.init(name: String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }

    /// - Parameter name: as the driver calls itself.
    public init(name: String) {
        self.name = name
        miss = Driver.table.first { name.hasPrefix($0.prefix) }?.miss ?? .unknown
    }

    /// mlx5 and ice match on entries and hand the rest to the representors; switch ASICs flood in hardware (rocker by
    /// measurement, the others by their drivers' source).
    private static let table: [(prefix: String, miss: Miss)] = [
        ("mlx5", .slowPath), ("ice", .slowPath), ("model_eswitch", .slowPath),
        ("rocker", .floods), ("mlxsw", .floods), ("prestera", .floods), ("dsa", .floods), ("dpaa2", .floods),
        ("sparx5", .floods), ("lan966x", .floods), ("am65", .floods), ("cpsw", .floods), ("icssg", .floods),
        ("adin1110", .floods),
    ]

    /// The danger of a software standby beside an eswitch port of this driver, in words; nil when there is none.
    ///
    /// - Parameters:
    ///   - port: the eswitch port.
    ///   - standby: the software port.
    public func standbyCost(port: String, standby: String) -> String {
        switch miss {
        case .floods:
            "LEAK: while the guest is on \(standby), the switch behind \(port) (\(name)) has no entry for it and floods "
                + "its frames to every port of the VLAN"
        case .slowPath:
            "while the guest is on \(standby), its frames take the slow path of \(port) (\(name)): the software bridge "
                + "forwards each one, which costs CPU"
        case .unknown:
            "it is not known whether the switch behind \(port) (\(name)) floods frames of a guest that is on \(standby) "
                + "to other ports"
        }
    }
}
