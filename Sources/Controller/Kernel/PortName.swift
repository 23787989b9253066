import Netlink
import Policy
import Switchdev

/// Finds the netdev that a user means by a port's name.
struct PortName {
    let links: Links
    let pci: PCIFunctions
    /// Read when a name asks for it: most are netdevs.
    let devlink: () throws(NetlinkError) -> Devlink

    /// The netdev's name.
    ///
    /// - Parameters:
    ///   - name: a netdev by its name or an alternative one, the driver's name of a port of the bridge (`pf0vf3`), or `pci/ADDRESS` of a VF.
    ///   - bridge: the bridge's name; the same driver's name on several cards means the one in this bridge.
    /// - Throws: ``ControllerError`` of code `precondition` when the name means no netdev, or several.
    func netdev(_ name: String, role: String, bridge: String) throws(ControllerError) -> String {
        if let link = links[name] { return link.name }
        if name.hasPrefix("pci/") { return try representor(of: String(name.dropFirst(4)), role: role) }
        let ports = links[bridge].map { links.ports(of: $0.index) } ?? []
        let same = ports.filter { $0.portName == name }
        if same.count > 1 {
            throw ControllerError(
                .precondition,
                "\(role): \(same.count) ports of \(bridge) are called \(name): \(same.map(\.name).joined(separator: ", "))",
                remedy: "name one of these interfaces")
        }
        return same.first?.name ?? name
    }

    private func representor(of address: String, role: String) throws(ControllerError) -> String {
        guard pci.exists(address) else {
            throw ControllerError(
                .precondition, "\(role): there is no PCI device \(address)",
                remedy: "name a VF as lspci -D shows it, for example pci/0000:03:00.5")
        }
        guard let (physical, number) = pci.virtualFunction(address) else {
            throw ControllerError(
                .precondition, "\(role): PCI device \(address) is no virtual function",
                remedy: "name a VF, or the port's interface")
        }
        let devlink = try ControllerError.reading("devlink", devlink)
        let handle = DevlinkHandle(bus: "pci", device: physical)
        guard let port = devlink.representor(ofVF: number, at: handle) else {
            let mode = devlink.modes[handle].map { "its eswitch is in mode \($0)" } ?? "devlink knows no eswitch there"
            throw ControllerError(
                .precondition, "\(role): VF \(number) of \(handle) has no representor (\(mode))",
                remedy: "devlink dev eswitch set \(handle) mode switchdev")
        }
        guard let link = port.interface.flatMap({ links[$0] }) else {
            throw ControllerError(
                .precondition, "\(role): the representor of VF \(number) of \(handle) is not in this network namespace",
                remedy: "move it here, or run fdbsteer where it is")
        }
        return link.name
    }
}
