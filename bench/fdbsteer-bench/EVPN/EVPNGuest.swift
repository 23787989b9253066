import FDB
import Lab

/// A guest of the EVPN bench. Every hand-over has one with a MAC of its own, so that none is a move too many to zebra.
struct EVPNGuest: Sendable {
    let id: String
    let mac: String
    /// An IPv4 and an IPv6 address.
    let addresses: [IPAddress]

    /// - Parameter number: from 1 to 65,535.
    init(number: Int) throws {
        let octets = [number >> 8 & 0xff, number & 0xff]
        id = "guest\(number)"
        mac = "52:54:00:fd:" + octets.map { String($0 + 0x100, radix: 16).dropFirst() }.joined(separator: ":")
        addresses = try NeighbourCrowd.addresses(subnet: 1, number)
    }
}
