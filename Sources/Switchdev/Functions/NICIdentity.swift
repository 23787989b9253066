import CNetlink
import Glibc
import Netlink

/// What the behaviour of a NIC's filters depends on. A measurement applies to every other NIC of the same identity.
public struct NICIdentity: Hashable, Sendable, Codable, CustomStringConvertible {
    /// The driver of the physical function.
    public let driver: String
    /// PCI vendor and device: `8086:10c9`.
    public let pciID: String
    /// The firmware's version as the driver reports it; empty if it does not.
    public let firmware: String
    /// `legacy` or `switchdev`; `none` if devlink knows no eswitch, which behaves like legacy.
    public let eswitchMode: String

    /// Makes an identity from its parts.
    public init(driver: String, pciID: String, firmware: String, eswitchMode: String) {
        self.driver = driver
        self.pciID = pciID
        self.firmware = firmware
        self.eswitchMode = eswitchMode
    }

    /// Reads the identity of a physical function.
    ///
    /// - Parameters:
    ///   - interface: its netdev, in the calling thread's network namespace.
    ///   - device: its PCI device.
    ///   - devlink: what devlink reports.
    public init(interface: String, device: PCIDevice, devlink: Devlink) {
        var name = [CChar](repeating: 0, count: 32)
        var firmware = [CChar](repeating: 0, count: 32)
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        if descriptor >= 0 {
            _ = cn_driver_information(descriptor, interface, &name, &firmware)
            close(descriptor)
        }
        func text(_ characters: [CChar]) -> String {
            String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        self.init(
            driver: device.driver ?? text(name), pciID: device.identifier, firmware: text(firmware),
            eswitchMode: devlink.modes[DevlinkHandle(bus: "pci", device: device.address)]?.description ?? "none")
    }

    public var description: String {
        "\(driver) \(pciID)" + (firmware.isEmpty ? "" : " firmware \(firmware)") + " eswitch \(eswitchMode)"
    }
}
