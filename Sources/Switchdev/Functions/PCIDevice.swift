import Glibc
public import System

/// A PCI device in sysfs: its driver, its netdevs, and the files that bind and unbind it.
public struct PCIDevice: Hashable, Sendable {
    /// Its address: `0000:03:00.0`.
    public let address: String
    private let root: String
    private var folder: String { "\(root)/devices/\(address)" }

    /// - Parameters:
    ///   - address: the address as `lspci -D` prints it.
    ///   - root: the folder of the PCI bus; tests use another one.
    /// - Returns: nil if the text is not a PCI address, or there is no such device.
    public init?(_ address: String, root: String = "/sys/bus/pci") {
        guard PCIFunctions.isAddress(address), access("\(root)/devices/\(address)", F_OK) == 0 else { return nil }
        self.address = address
        self.root = root
    }

    /// The driver to which it is bound.
    public var driver: String? { SystemFile.linkName(folder + "/driver") }

    /// The netdevs of its driver that are in the calling thread's network namespace.
    public var interfaces: [String] { SystemFile.names(in: folder + "/net") }

    /// Vendor and device: `8086:10c9`.
    public var identifier: String {
        func part(_ name: String) -> String {
            String((SystemFile.firstLine(of: "\(folder)/\(name)") ?? "0x0000").dropFirst(2))
        }
        return part("vendor") + ":" + part("device")
    }

    /// The most VFs that it may have; nil for a device without SR-IOV.
    public var totalFunctions: Int? { SystemFile.firstLine(of: folder + "/sriov_totalvfs").flatMap { Int($0) } }

    /// The only driver that may bind to it; nil if every driver may.
    public var driverOverride: String? {
        SystemFile.firstLine(of: folder + "/driver_override").flatMap { $0 == "(null)" || $0.isEmpty ? nil : $0 }
    }

    /// Sets the only driver that may bind to it; nil allows every driver.
    ///
    /// - Throws: ``SystemError``.
    public func setDriverOverride(_ name: String?) throws(SystemError) {
        try SystemFile.write(
            (name ?? "") + "\n", to: folder + "/driver_override", activity: "cannot set the driver of \(address)")
    }

    /// Binds it to a driver.
    ///
    /// The caller sets the override first. Without it the kernel refuses a VF with ENODEV while `sriov_drivers_autoprobe` is 0
    /// (`pci_device_can_probe`, drivers/pci/pci-driver.c).
    ///
    /// - Throws: ``SystemError``.
    public func bind(to driver: String) throws(SystemError) {
        try SystemFile.write(
            address, to: "\(root)/drivers/\(driver)/bind", activity: "cannot bind \(address) to \(driver)")
    }

    /// Unbinds it from its driver; does nothing if it has none.
    ///
    /// - Throws: ``SystemError``.
    public func unbind() throws(SystemError) {
        guard driver != nil else { return }
        try SystemFile.write(
            address, to: folder + "/driver/unbind", activity: "cannot unbind \(address) from its driver")
    }

    /// Whether a driver is loaded.
    public func hasDriver(_ name: String) -> Bool { access("\(root)/drivers/\(name)/bind", W_OK) == 0 }
}
