package import FDB
import Netlink
package import Policy
import Records
import Switchdev

extension Prepare {
    /// The most addresses that are taken for one guest's: behind a port with more is a network.
    private static let mostExclusive = 256

    /// The addresses that live behind one of a guest's own ports, where nobody else does (`prepare --exclusive`).
    ///
    /// - Parameters:
    ///   - port: one of the ports that the options name as the guest's own.
    ///   - id: the guest.
    ///   - options: what `prepare` was told beside.
    /// - Throws: ``ControllerError`` of code `usage` for another port, of code `precondition` where there are none, too many, or the port
    ///   serves another guest.
    package static func addresses(
        behind port: String, of id: GuestID, _ options: PreparationOptions, on host: inout Host
    ) throws(ControllerError) -> [Address] {
        guard [options.primary, options.standby, options.port].contains(port) else {
            let own = [options.primary, options.standby, options.port].compactMap { $0 }.joined(separator: " or ")
            throw ControllerError(
                .usage, "--exclusive \(port) is none of the guest's own ports", remedy: "write --exclusive \(own)")
        }
        let links = try host.kernel.links()
        let names = PortName(links: links, pci: PCIFunctions()) { () throws(NetlinkError) in try Devlink.snapshot() }
        guard let bridge = links[options.bridge], bridge.kind == "bridge" else {
            let bridges = links.bridges.map(\.name).joined(separator: ", ")
            throw ControllerError(
                .precondition, "\(options.bridge): it is no Linux bridge", remedy: "the bridges here are \(bridges)")
        }
        let name = try names.netdev(port, role: "exclusive", bridge: bridge.name)
        guard let link = links[name], link.master == bridge.index else {
            throw ControllerError(
                .precondition, "\(port) is no port of \(bridge.name)",
                remedy: "\"fdbsteer topology\" shows the ports of each bridge")
        }
        let others = try Journal(reading: host.folder)?.records().filter { record in
            record.guest.id != id && record.guest.own.contains { $0.port.index == link.index }
        }
        if let other = others?.first {
            throw ControllerError(
                .precondition,
                "\(link.name) is a port of guest \(other.guest.id) too: what lives behind it is not one guest's",
                remedy: "name the guest's MACs by --address")
        }
        var found: Set<Address> = []
        try ControllerError.reading("the entries of \(link.name)") { () throws(NetlinkError) in
            try Table.scan(bridge: bridge.index, port: link.index, using: &host.kernel.socket) { entry in
                let isGuests = entry.port == link.index && !entry.isLocal && !Sentinel.isSentinel(entry.address.mac)
                if isGuests { found.insert(entry.address) }
            }
        }
        guard (1...mostExclusive).contains(found.count) else {
            throw ControllerError(
                .precondition,
                found.isEmpty
                    ? "no address lives behind \(link.name) yet: nothing has come in by it, or its entries have aged out"
                    : "\(found.count) addresses live behind \(link.name), and \(mostExclusive) are the most that are taken for one guest's",
                remedy: found.isEmpty
                    ? "let the guest send something, or name its MACs by --address"
                    : "name the guest's MACs by --address")
        }
        return found.sorted()
    }
}
