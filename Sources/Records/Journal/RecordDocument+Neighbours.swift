import FDB
import JSON
import Policy

/// The neighbours that follow a guest.
extension RecordDocument {
    /// - Parameter found: what there was before them.
    mutating func writeNeighbours(of guest: GuestInterface, found: [IPNeighbour]) {
        guard let neighbours = guest.neighbours else { return }
        self["neighbours"] = .array(
            neighbours.map { neighbour in
                .object([
                    .init("ip", .string(neighbour.ip.description)), .init("mac", .string(neighbour.mac.description)),
                    .init("name", .string(neighbour.interface.name)),
                    .init("ifindex", .integer(Int64(neighbour.interface.index))),
                ])
            })
        self["found_neighbours"] = .array(found.map(RecordDocument.neighbour))
    }

    private static func neighbour(_ found: IPNeighbour) -> JSON {
        var members = [
            JSON.Member("ip", .string(found.ip.description)), .init("ifindex", .integer(Int64(found.interface))),
            .init("state", .integer(Int64(found.state.rawValue))),
            .init("flags", .integer(Int64(found.flags.rawValue))),
        ]
        if let mac = found.mac { members.append(.init("mac", .string(mac.description))) }
        if let maker = found.protocol { members.append(.init("protocol", .integer(Int64(maker.rawValue)))) }
        return .object(members)
    }

    static func neighbours(_ member: JSON) throws(Fault) -> [GuestNeighbour] {
        try (member.elements ?? []).map { element throws(Fault) -> GuestNeighbour in
            guard let ip = element["ip"]?.text.flatMap({ IPAddress($0) }),
                let mac = element["mac"]?.text.flatMap({ MACAddress($0) })
            else { throw Fault("an element of \"neighbours\" lacks \"ip\" or \"mac\"") }
            return GuestNeighbour(ip: ip, mac: mac, interface: try identity(element, "neighbour"))
        }
    }

    /// The neighbours that follow the guest, as they were before; what cannot be read is left out.
    var foundNeighbours: [IPNeighbour] {
        (self["found_neighbours"]?.elements ?? []).compactMap { element in
            func number<T: FixedWidthInteger>(_ name: String) -> T? {
                element[name]?.integer.flatMap { T(exactly: $0) }
            }
            guard let ip = element["ip"]?.text.flatMap({ IPAddress($0) }), let interface: Int32 = number("ifindex"),
                let state: UInt16 = number("state"), let flags: UInt8 = number("flags")
            else { return nil }
            let maker: UInt8? = number("protocol")
            return IPNeighbour(
                ip: ip, interface: interface, mac: element["mac"]?.text.flatMap { MACAddress($0) },
                state: EntryState(rawValue: state), flags: EntryFlags(rawValue: flags),
                protocol: maker.map { GroupProtocol(rawValue: $0) })
        }
    }
}
