import Glibc

/// Whether a PCI function may start transfers: the Bus Master Enable bit of its configuration space (PCI 3.0, 6.2.2). The bit
/// is read from sysfs and never written.
///
/// A driver sets the bit when it starts and clears it when it is removed. For a VF that a guest drives by VFIO it is the VF's
/// own bit, so it shows the state of the guest's driver.
public struct BusMastering: ~Copyable {
    private let descriptor: Int32
    private static let command = 4
    private static let enable: UInt16 = 1 << 2

    /// - Parameters:
    ///   - address: the function's address, `0000:03:00.2`.
    ///   - root: the folder that holds the PCI devices; tests use another one.
    /// - Returns: nil if there is no such function, or its configuration space cannot be read.
    public init?(_ address: String, root: String = "/sys/bus/pci/devices") {
        guard PCIFunctions(root: root).exists(address) else { return nil }
        let file = open("\(root)/\(address)/config", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        descriptor = file
    }

    deinit { close(descriptor) }

    /// The function that was opened is gone; one that comes later at its address is another.
    public var isGone: Bool {
        var register: UInt16 = 0
        return pread(descriptor, &register, 2, BusMastering.command) != 2
    }

    /// The current bit; false for a function that is gone.
    public var isOn: Bool {
        var register: UInt16 = 0
        guard pread(descriptor, &register, 2, BusMastering.command) == 2 else { return false }
        let value = UInt16(littleEndian: register)
        // A function that does not answer reads as all ones.
        return value != 0xffff && value & BusMastering.enable != 0
    }
}
