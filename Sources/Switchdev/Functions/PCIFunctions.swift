import Glibc
import System

/// Finds out from sysfs which VF belongs to which physical function (`physfn` and `virtfnN` links of PCI devices).
public struct PCIFunctions: Sendable {
    private let root: String

    /// - Parameter root: the folder that holds the PCI devices; tests use another one.
    public init(root: String = "/sys/bus/pci/devices") { self.root = root }

    /// The physical function and the number of the VF with a PCI address.
    ///
    /// - Returns: nil if there is no such device, or it is not a VF.
    public func virtualFunction(_ address: String) -> (physicalFunction: String, number: UInt16)? {
        // The address becomes part of a path, so it must be nothing but an address.
        guard PCIFunctions.isAddress(address), let physical = target("\(address)/physfn"),
            let number = numbers(of: physical).first(where: { self.address(ofVF: $0, of: physical) == address })
        else { return nil }
        return (physical, number)
    }

    /// The PCI address of a VF.
    ///
    /// - Parameters:
    ///   - number: the VF's number.
    ///   - physicalFunction: the PCI address of its physical function.
    /// - Returns: nil if there is none, as for functions of another host.
    public func address(ofVF number: UInt16, of physicalFunction: String) -> String? {
        guard PCIFunctions.isAddress(physicalFunction) else { return nil }
        return target("\(physicalFunction)/virtfn\(number)")
    }

    /// Whether a device exists.
    public func exists(_ address: String) -> Bool {
        PCIFunctions.isAddress(address) && access("\(root)/\(address)", F_OK) == 0
    }

    /// Whether a text has the form `0000:03:00.2`: only hexadecimal digits, colons and a dot.
    static func isAddress(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= 32
            && text.utf8.allSatisfy { byte in
                (byte >= 0x30 && byte <= 0x3a) || (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x66)
                    || byte == UInt8(ascii: ".")
            } && !text.hasPrefix(".")
    }

    private func target(_ link: String) -> String? { SystemFile.linkName("\(root)/\(link)") }

    private func numbers(of physicalFunction: String) -> [UInt16] {
        SystemFile.names(in: "\(root)/\(physicalFunction)").compactMap { name in
            name.hasPrefix("virtfn") ? UInt16(name.dropFirst(6)) : nil
        }
    }
}
