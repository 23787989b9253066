import Lab
import Netlink
import Testing

@testable import FDB

/// Messages about neighbours, and what the kernel makes of them.
@Suite struct IPNeighbourTests {
    private static func body(_ request: IPNeighbourRequest) -> [UInt8] {
        var writer = MessageWriter(capacity: 256)
        _ = writer.append(request, sequence: 1)
        return Array(writer.bytes.dropFirst(MessageHeader.size))
    }

    /// The bytes of `ip neigh replace 192.0.2.7 lladdr 52:54:00:12:34:56 dev IFINDEX nud permanent protocol 253`, by strace.
    @Test func messagesAreAsIPSendsThem() throws {
        let ip = try #require(IPAddress("192.0.2.7"))
        let mac = MACAddress(value: 0x5254_0012_3456)
        let set = IPNeighbourRequest.set(.own(ip, mac, interface: 7))
        #expect(set.type == .newNeighbour && set.flags == [.create, .replace])
        #expect(
            IPNeighbourTests.body(set) == [2, 0, 0, 0, 7, 0, 0, 0, 0x80, 0, 0, 0] + [8, 0, 1, 0, 192, 0, 2, 7]
                + [10, 0, 2, 0, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0, 0] + [5, 0, 12, 0, 253, 0, 0, 0])
        let six = try #require(IPAddress("2001:db8::7"))
        let get = IPNeighbourTests.body(.get(six, interface: 7))
        #expect(get == [10, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0] + [20, 0, 1, 0] + six.octets)
        #expect(IPNeighbourTests.body(.delete(six, interface: 7)) == get)
    }

    @Test func whatIsSentIsReadAgain() throws {
        let ip = try #require(IPAddress("2001:db8::7"))
        let known = IPNeighbour.own(ip, MACAddress(value: 0x5254_0012_3456), interface: 7)
        let bytes = IPNeighbourTests.body(.set(known))
        let read = try bytes.withUnsafeBytes { try IPNeighbour(decoding: $0) }
        #expect(read == known && known.isOwn && known.isStatic)
        let ofBridge: [UInt8] = [7] + bytes.dropFirst()
        #expect(try ofBridge.withUnsafeBytes { try IPNeighbour(decoding: $0) } == nil)
        #expect(throws: NetlinkError.self) {
            try Array(bytes.dropLast(4)).withUnsafeBytes { try IPNeighbour(decoding: $0) }
        }
        let taken = IPNeighbour(
            ip: ip, interface: 7, mac: known.mac, state: .noARP, flags: .externallyLearned, protocol: .fdbsteer)
        #expect(!taken.isOwn && taken.isControlPlanes)
    }

    @Test(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
    func theKernelTakesThem() throws {
        try Namespace.run {
            try Command.script("ip link add br0 type bridge\nip link set br0 up\nip addr add 192.0.2.1/24 dev br0")
            var socket = try CommandSocket()
            let index = try #require(try Interface.index(of: "br0"))
            let mac = MACAddress(value: 0x5254_0012_3456)
            for text in ["192.0.2.7", "2001:db8::7"] {
                let ip = try #require(IPAddress(text))
                let own = IPNeighbour.own(ip, mac, interface: index)
                let keys = [(ip: ip, interface: index), (ip: ip, interface: 9999)]
                #expect(try IPNeighbour.read(keys, using: &socket) == [nil, nil])
                try socket.perform(IPNeighbourRequest.set(own))
                #expect(try IPNeighbour.read(keys, using: &socket) == [own, nil])
                // One that names no protocol leaves it, so that the flag tells.
                try Command.script("ip neigh replace \(text) lladdr 52:54:00:00:00:09 dev br0 nud noarp extern_learn")
                let taken = try #require(try IPNeighbour.read(keys, using: &socket)[0])
                #expect(taken.protocol == .fdbsteer && !taken.isOwn, "\(taken)")
                try socket.perform(IPNeighbourRequest.set(own))
                #expect(try IPNeighbour.read(keys, using: &socket)[0] == own)
                try socket.perform(IPNeighbourRequest.delete(ip, interface: index))
                #expect(try IPNeighbour.read(keys, using: &socket)[0]?.isOwn != true)
            }
        }
    }
}
