import CNetlink
import Glibc

/// Properties of a network driver with a bridge offload, from its source.
public struct Driver: Hashable, Sendable {
    /// What the hardware does with a frame whose destination has no entry.
    public enum Miss: String, Hashable, Sendable {
        /// It floods the frame to every port of the VLAN, in hardware: a guest behind a software port leaks.
        case floods
        /// It passes the frame to the software bridge: a guest behind a software port costs CPU, and nothing leaks.
        case slowPath = "slow path"
        /// Unknown.
        case unknown
    }

    /// The driver's name (ETHTOOL_GDRVINFO).
    public let name: String
    /// What the hardware does with a frame whose destination has no entry.
    public let miss: Miss

    /// Reads the driver of an interface in the calling thread's network namespace.
    ///
    /// - Returns: nil if the interface reports no driver.
    public init?(interface: String) {
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [CChar](repeating: 0, count: 32)
        var firmware = bytes
        guard cn_driver_information(descriptor, interface, &bytes, &firmware) == 0 else { return nil }
        self.init(name: String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }

    /// - Parameter name: the driver's name as it reports it.
    public init(name: String) {
        self.name = name
        miss = Driver.table.first { name.hasPrefix($0.prefix) }?.miss ?? .unknown
    }

    /// mlx5 and ice match on entries and pass all other frames to the representors. Switch ASICs flood in hardware; that was
    /// measured for rocker and read in the source of the other drivers.
    private static let table: [(prefix: String, miss: Miss)] = [
        ("mlx5", .slowPath), ("ice", .slowPath), ("model_eswitch", .slowPath),
        ("rocker", .floods), ("mlxsw", .floods), ("prestera", .floods), ("dsa", .floods), ("dpaa2", .floods),
        ("sparx5", .floods), ("lan966x", .floods), ("am65", .floods), ("cpsw", .floods), ("icssg", .floods),
        ("adin1110", .floods),
    ]

    /// The effect of a software standby beside an eswitch port of this driver, in words.
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
