import CLab
import Glibc
import System

/// Frames about multicast groups, as members, routers and senders transmit them.
package enum GroupFrame {
    /// The type of an IGMPv3 group record (RFC 3376, 4.2.12).
    package enum Record: UInt8, Sendable {
        case toInclude = 3
        case toExclude = 4
    }

    /// An IGMPv2 membership report (RFC 2236).
    package static func igmp2Report(_ group: String, from source: String) -> [UInt8] {
        ipv4(to: group, from: source, header: 2, options: [0x94, 4, 0, 0], payload: igmp(0x16, group))
    }

    /// An IGMPv2 leave.
    package static func igmp2Leave(_ group: String, from source: String) -> [UInt8] {
        ipv4(to: "224.0.0.2", from: source, header: 2, options: [0x94, 4, 0, 0], payload: igmp(0x17, group))
    }

    /// An IGMPv2 general query, as a querier sends it.
    ///
    /// - Parameter tenths: the response time in tenths of a second. For that long after it hears a new querier a bridge
    ///   floods, because it may not know every member.
    package static func igmp2Query(from source: String, tenths: UInt8 = 1) -> [UInt8] {
        ipv4(
            to: "224.0.0.1", from: source, header: 2, options: [0x94, 4, 0, 0],
            payload: igmp(0x11, "0.0.0.0", tenths))
    }

    /// An IGMPv3 report with one group record.
    package static func igmp3Report(
        _ group: String, _ record: Record, sources: [String] = [], from source: String
    ) -> [UInt8] {
        var payload: [UInt8] = [0x22, 0, 0, 0, 0, 0, 0, 1, record.rawValue, 0, 0, UInt8(sources.count)]
        payload += octets(group, AF_INET) + sources.flatMap { octets($0, AF_INET) }
        put(checksum(payload), into: &payload, at: 2)
        return ipv4(to: "224.0.0.22", from: source, header: 2, options: [0x94, 4, 0, 0], payload: payload)
    }

    /// An MLDv1 report (RFC 2710).
    package static func mld1Report(_ group: String, from source: String) -> [UInt8] {
        icmp6([131, 0, 0, 0, 0, 0, 0, 0] + octets(group, AF_INET6), to: group, from: source, routerAlert: true)
    }

    /// A neighbour solicitation (RFC 4861) to the solicited-node group of an address.
    package static func neighbourSolicitation(for target: String, from source: String) -> [UInt8] {
        let address = octets(target, AF_INET6)
        let option: [UInt8] = [1, 1] + Interface.octets(source)
        return icmp6(
            [135, 0, 0, 0, 0, 0, 0, 0] + address + option, to: solicitedNode(target), from: source, routerAlert: false)
    }

    /// A UDP frame to an IPv4 group. It is long enough to need no padding, which bridges cut off.
    package static func datagram(to group: String, number: UInt32, from source: String) -> [UInt8] {
        let content = (0..<20).map { $0 < 4 ? UInt8(truncatingIfNeeded: number >> (24 - 8 * $0)) : 0 }
        let udp: [UInt8] = [0x12, 0x34, 0x12, 0x35, 0, 28, 0, 0] + content
        return ipv4(to: group, from: source, header: 17, options: [], payload: udp)
    }

    /// The solicited-node group of an address: `ff02::1:ff` and the address's last 24 bits.
    package static func solicitedNode(_ address: String) -> String {
        let group: [UInt8] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff] + octets(address, AF_INET6).suffix(3)
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        inet_ntop(AF_INET6, group, &text, socklen_t(text.count))
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    // MARK: - Headers

    private static func igmp(_ type: UInt8, _ group: String, _ time: UInt8 = 0) -> [UInt8] {
        var bytes = [type, time, 0, 0] + octets(group, AF_INET)
        put(checksum(bytes), into: &bytes, at: 2)
        return bytes
    }

    private static func ipv4(
        to group: String, from source: String, header: UInt8, options: [UInt8], payload: [UInt8]
    ) -> [UInt8] {
        let length = UInt8(20 + options.count + payload.count)
        var ip: [UInt8] = [0x45 + UInt8(options.count / 4), 0xc0, 0, length, 0, 0, 0, 0, 1, header, 0, 0]
        ip += [10, 0, 0, 1] + octets(group, AF_INET) + options
        put(checksum(ip), into: &ip, at: 10)
        let address = octets(group, AF_INET)
        let mac = [1, 0, 0x5e, address[1] & 0x7f, address[2], address[3]]
        return padded(mac + Interface.octets(source) + [8, 0] + ip + payload)
    }

    private static func icmp6(
        _ message: [UInt8], to group: String, from source: String, routerAlert: Bool
    ) -> [UInt8] {
        let destination = octets(group, AF_INET6)
        let mac = Interface.octets(source)
        // The link-local address that is derived from the MAC (EUI-64).
        let own: [UInt8] =
            [0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]]
        var message = message
        let pseudo = own + destination + [0, 0, 0, UInt8(message.count), 0, 0, 0, 58]
        put(checksum(pseudo + message), into: &message, at: 2)
        let options: [UInt8] = routerAlert ? [58, 0, 5, 2, 0, 0, 1, 0] : []
        let hops: UInt8 = routerAlert ? 1 : 255
        let length = UInt8(options.count + message.count)
        let ip: [UInt8] = [0x60, 0, 0, 0, 0, length, routerAlert ? 0 : 58, hops] + own + destination
        return padded([0x33, 0x33] + destination.suffix(4) + mac + [0x86, 0xdd] + ip + options + message)
    }

    private static func octets(_ address: String, _ family: Int32) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: family == AF_INET6 ? 16 : 4)
        precondition(inet_pton(family, address, &bytes) == 1, "\(address) is no address")
        return bytes
    }

    private static func checksum(_ bytes: [UInt8]) -> UInt16 {
        var sum: UInt32 = 0
        for index in stride(from: 0, to: bytes.count, by: 2) {
            sum += UInt32(bytes[index]) << 8 | (index + 1 < bytes.count ? UInt32(bytes[index + 1]) : 0)
        }
        while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
        return ~UInt16(sum)
    }

    private static func put(_ value: UInt16, into bytes: inout [UInt8], at offset: Int) {
        bytes[offset] = UInt8(value >> 8)
        bytes[offset + 1] = UInt8(value & 0xff)
    }

    private static func padded(_ frame: [UInt8]) -> [UInt8] {
        frame + [UInt8](repeating: 0, count: max(0, 60 - frame.count))
    }
}

/// Receives the frames that arrive at an interface.
package struct Witness: ~Copyable {
    private let descriptor: Int32

    /// Receives every frame that arrives from now on, in the calling thread's namespace.
    ///
    /// - Throws: ``LabError``.
    package init(_ interface: String) throws {
        descriptor = try Interface.open(interface, type: UInt16(ETH_P_ALL), receiveBuffer: 1 << 20)
    }

    deinit { close(descriptor) }

    /// Whether a frame has arrived since the last call, or arrives within the given milliseconds.
    package func hears(_ frame: [UInt8], within milliseconds: Int32 = 150) -> Bool {
        let end = monotonicNanoseconds() + Int64(milliseconds) * 1_000_000
        var received = [UInt8](repeating: 0, count: 2048)
        while true {
            let left = Int32((end - monotonicNanoseconds()) / 1_000_000)
            var polled = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&polled, 1, max(0, left)) > 0 else { return false }
            let count = recv(descriptor, &received, received.count, 0)
            if count == frame.count, Array(received.prefix(count)) == frame { return true }
        }
    }

    /// The numbers of the datagrams to a group (``GroupFrame/datagram(to:number:from:)``) that have arrived.
    package func numbers(of group: String) -> [UInt32] {
        let model = GroupFrame.datagram(to: group, number: 0, from: "00:00:00:00:00:00")
        var received = [UInt8](repeating: 0, count: 2048)
        var numbers: [UInt32] = []
        while true {
            let count = recv(descriptor, &received, received.count, Int32(MSG_DONTWAIT))
            if count < 0 { return numbers }
            guard count == model.count, received[..<6] == model[..<6], received[30..<34] == model[30..<34] else {
                continue
            }
            numbers.append(received[42..<46].reduce(0) { $0 << 8 | UInt32($1) })
        }
    }
}

/// Sends frames unchanged. Closing its socket takes the kernel milliseconds, so use one for many frames.
package struct Transmitter: ~Copyable {
    private let descriptor: Int32

    /// Sends from an interface of the calling thread's namespace.
    ///
    /// - Throws: ``LabError``.
    package init(_ interface: String) throws {
        descriptor = try Interface.open(interface, type: 0x88b5, receiveBuffer: 0)
    }

    deinit { close(descriptor) }

    /// Sends one frame.
    ///
    /// - Throws: ``LabError``.
    package func send(_ frame: [UInt8]) throws {
        guard Glibc.send(descriptor, frame, frame.count, 0) == frame.count else {
            throw LabError("cannot send: \(String(cString: strerror(errno)))")
        }
    }
}

extension Interface {
    /// Sends one frame unchanged.
    ///
    /// - Throws: ``LabError``.
    package static func transmit(_ frame: [UInt8], from interface: String) throws {
        try Transmitter(interface).send(frame)
    }
}

extension BridgeLab {
    /// Makes the bridge the querier of its segment for IPv4 and IPv6. It snoops only if there is a querier.
    ///
    /// - Parameters:
    ///   - isModern: use IGMPv3 and MLDv2, the versions with source lists.
    ///   - membershipSeconds: the lifetime of a membership without reports.
    /// - Throws: ``LabError``.
    package func makeQuerier(isModern: Bool = false, membershipSeconds: Int = 260) throws {
        // A querier waits for one response interval before it trusts its knowledge, and for MLD it needs an address that is not
        // tentative.
        try Command.script(
            """
            ip -6 addr add fe80::b5/64 dev \(bridge) nodad
            ip link set \(bridge) type bridge mcast_query_response_interval 10
            ip link set \(bridge) type bridge mcast_igmp_version \(isModern ? 3 : 2) mcast_mld_version \(isModern ? 2 : 1)
            ip link set \(bridge) type bridge mcast_membership_interval \(membershipSeconds * 100)
            ip link set \(bridge) type bridge mcast_querier 1
            """)
        usleep(300_000)
    }

    /// The memberships of a port, `group` or `group src source`, as `bridge mdb show` prints them, sorted.
    package func groups(_ port: String) throws -> [String] {
        try Command.run(["bridge", "mdb", "show", "dev", bridge]).output.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ").map(String.init)
            guard let place = words.firstIndex(of: "port"), words.count > place + 3, words[place + 1] == port,
                words[place + 2] == "grp"
            else { return nil }
            let source = words.firstIndex(of: "src").map { " src " + words[$0 + 1] } ?? ""
            return words[place + 3] + source + (words.contains("permanent") ? " permanent" : "")
        }.sorted()
    }

    /// Waits up to 2 s until a port has these memberships.
    ///
    /// - Returns: the final memberships.
    package func waitForGroups(_ port: String, _ expected: [String]) throws -> [String] {
        _ = try waitForGroups(port) { $0 == expected }
        return try groups(port)
    }

    /// Waits up to 2 s until a port's memberships are right.
    ///
    /// - Returns: whether they are.
    package func waitForGroups(_ port: String, where isRight: ([String]) -> Bool) throws -> Bool {
        for _ in 0..<200 {
            if isRight(try groups(port)) { return true }
            usleep(10_000)
        }
        return false
    }
}
