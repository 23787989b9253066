import CNetlink
import FDB
import Lab
import Netlink
import System
import Testing

@testable import Switchdev

/// Requests to NICs and frames of probes; tests with real VFs are in the lab VM only.
struct NICTests {
    private let mac = MACAddress(value: 0x0200_0000_0001)

    @Test func aProbeFrameIsReadBackWithAndWithoutItsTag() throws {
        for isTagged in [false, true] {
            let frame = ProbeFrame(measurement: 300, source: 1, isTagged: isTagged, number: 999)
            let bytes = frame.bytes(to: mac, from: mac, run: 0xdead_beef, vlan: VLANID(rawValue: 100))
            #expect(bytes.count == (isTagged ? 64 : 60))
            // A NIC may remove the tag.
            let stripped = isTagged ? Array(bytes[..<12] + bytes[16...]) : bytes
            for received in [bytes, stripped] {
                received.withUnsafeBytes { #expect(ProbeFrame(decoding: $0, run: 0xdead_beef) == frame) }
                received.withUnsafeBytes { #expect(ProbeFrame(decoding: $0, run: 1) == nil) }
                for count in 0..<received.count {
                    received[..<count].withUnsafeBytes {
                        let found = ProbeFrame(decoding: $0, run: 0xdead_beef)
                        #expect(found == nil || found == frame)
                    }
                }
            }
        }
    }

    @Test func aVFIsDecodedInFullAndShortPartsAreSurvived() throws {
        func attribute(_ type: Int, _ payload: [UInt8]) -> [UInt8] {
            let length = UInt16(payload.count + 4)
            let header = withUnsafeBytes(of: length, Array.init) + withUnsafeBytes(of: UInt16(type), Array.init)
            return header + payload + [UInt8](repeating: 0, count: (4 - payload.count % 4) % 4)
        }
        func words(_ values: UInt32...) -> [UInt8] { values.flatMap { withUnsafeBytes(of: $0, Array.init) } }
        let parts: [[UInt8]] = [
            attribute(Int(IFLA_VF_VLAN), words(2, 77, 0)), attribute(Int(IFLA_VF_SPOOFCHK), words(2, 1)),
            attribute(Int(IFLA_VF_TRUST), words(2, .max)), attribute(Int(IFLA_VF_LINK_STATE), words(2, 2)),
            attribute(Int(IFLA_VF_MAC), words(2) + [2, 0, 0, 0, 0, 1] + [UInt8](repeating: 0, count: 26)),
        ]
        func link(_ parts: [[UInt8]]) -> [UInt8] {
            [UInt8](repeating: 0, count: MemoryLayout<ifinfomsg>.size)
                + attribute(
                    Int(IFLA_VFINFO_LIST), attribute(Int(IFLA_VF_INFO), parts.flatMap { $0 }))
        }
        let bytes = link(parts)
        let vf = try bytes.withUnsafeBytes { try Link(decoding: $0) }.virtualFunctions
        #expect(vf.count == 1 && vf[0].index == 2 && vf[0].mac == mac && vf[0].vlan == 77)
        #expect(vf.first?.checksSource == true && vf.first?.isTrusted == nil && vf.first?.linkState == .disable)
        for count in 0..<bytes.count {
            _ = bytes[..<count].withUnsafeBytes { try? Link(decoding: $0) }
        }
        for part in parts.indices {
            var short = parts
            short[part] = attribute(Int(IFLA_VF_VLAN), [1, 2, 3])
            let functions = try link(short).withUnsafeBytes { try Link(decoding: $0) }.virtualFunctions
            #expect(functions.count == (part == 4 ? 0 : 1))
        }
    }

    @Test(.enabled(if: obstacle == nil, "\(obstacle ?? "")"))
    func unicastListsAndLinksOfVeths() throws {
        try Namespace.run {
            try Command.script("ip link add first0 type veth peer name second0")
            var socket = try CommandSocket()
            let found = try Links.read(named: ["first0", "second0"], using: &socket)
            let (first, second) = (try #require(found[0]), try #require(found[1]))
            let address = MACAddress(value: 0x0200_0000_0042)
            #expect(try UnicastList.holders(of: address, using: &socket).isEmpty)
            try socket.perform(UnicastListRequest(address, link: first.index, isAddition: true))
            #expect(try UnicastList.holders(of: address, using: &socket) == [first.index])
            #expect(try UnicastList.contains(address, link: first.index, using: &socket))
            #expect(try !UnicastList.contains(address, link: second.index, using: &socket))
            #expect(
                try Command.run(["bridge", "fdb", "show", "dev", "first0"]).output.contains("\(address) self permanent")
            )
            func refusal(_ request: UnicastListRequest) -> KernelErrno? { (socket.perform([request])[0])?.errno }
            #expect(refusal(UnicastListRequest(address, link: first.index, isAddition: true)) == .exists)
            try socket.perform(UnicastListRequest(address, link: first.index, isAddition: false))
            #expect(refusal(UnicastListRequest(address, link: first.index, isAddition: false)) == .noEntry)

            try socket.perform(NICRequest.rename(link: first.index, to: "third0"))
            try socket.perform(NICRequest.setUp(link: first.index, true))
            var now = try #require(try Links.read([first.index], using: &socket)[0])
            #expect(now.name == "third0" && now.isUp && now.promiscuity == 0)
            let refused = socket.perform([NICRequest.setMAC(address, vf: 0, of: first.index)])[0]
            #expect(refused?.errno == .notSupported)
            do {
                // The promiscuity ends with the socket.
                let port = try ProbePort(now, promiscuous: true)
                now = try #require(try Links.read([first.index], using: &socket)[0])
                #expect(now.promiscuity == 1 && port.name == "third0")
            }
            now = try #require(try Links.read([first.index], using: &socket)[0])
            #expect(now.promiscuity == 0)
            try socket.perform(NICRequest.delete(link: first.index))
            #expect(try Links.read(named: ["second0"], using: &socket)[0] == nil)
        }
    }
}
