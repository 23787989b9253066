import FDB
import Glibc
import Lab
import Netlink
import Policy
import Switchdev
import Testing

@testable import Controller

/// What a replay sends where it is told in the middle of another.
@Suite(.enabled(if: Namespace.obstacle == nil, "needs root: network namespaces cannot be made"))
struct ReplayerTests {
    private static let mac = "52:54:00:00:00:01"

    private static func port(_ name: String) -> PortIdentity {
        PortIdentity(name: name, index: Int32(if_nametoindex(name)), isEswitchPort: false)
    }

    private static func send(_ numbers: Range<UInt8>, by port: String) throws {
        // One that only sends is seen by no other socket.
        let output = try Interface.open(port, type: 0x88b5, receiveBuffer: 1 << 16)
        defer { close(output) }
        for number in numbers {
            let frame =
                Interface.octets(mac) + Interface.octets("52:54:00:fd:b5:fe") + [0x88, 0xb5, number]
                + [UInt8](repeating: 0x5a, count: 45)
            #expect(Glibc.send(output, frame, frame.count, 0) == frame.count)
        }
    }

    /// The standby's queue has no room for all of the leaving, the guest is stopped, and goes.
    @Test func whatWasStillToBeSentToTheStandbyFollowsAGuestThatHasGone() throws {
        try Namespace.run {
            try Command.script(
                """
                ip tuntap add dev vtapq0 mode tap
                ip link add up0 type veth peer name up0-far
                ip link set vtapq0 addrgenmode none up
                ip link set up0 addrgenmode none up
                ip link set up0-far addrgenmode none up
                """)
            let tap = try TapReader("vtapq0")
            let far = try Interface.open("up0-far", type: 0x88b5, receiveBuffer: 1 << 20)
            defer { close(far) }
            let (standby, uplink) = (ReplayerTests.port("vtapq0"), ReplayerTests.port("up0"))
            let macs = [try #require(MACAddress(ReplayerTests.mac))]
            let plan = ReplayPlan(
                standby: standby, primary: standby, uplink: uplink, uplinkMAC: macs[0],
                tagging: UplinkTagging(
                    filters: false, tagType: 0x8100, own: PortVLANs(), uplink: PortVLANs(), addresses: []),
                macs: macs, gap: nil, isArriving: false)
            var socket = try CommandSocket()
            let replayer = try Replayer(
                plan, try Replayer.Captures(primary: nil, standby: standby, to: macs),
                through: try #require(CaptureBuffer()),
                now: 1)
            replayer.look(using: &socket)
            try ReplayerTests.send(0..<15, by: "vtapq0")
            replayer.advance(now: 2, among: 1, using: &socket)
            #expect(tap.received(framesTo: ReplayerTests.mac) == 15)
            // Of the first ten it is known that the guest has missed them.
            replayer.sending = Replayer.Sending(
                [.init(0..<10)], by: .standby, evidenceAt: 0, account: ReplayAccount(.leaving))
            try ReplayerTests.send(15..<20, by: "vtapq0")
            replayer.stops(using: &socket)
            replayer.departs(now: 3, using: &socket)
            var found: [UInt8] = []
            var frame = [UInt8](repeating: 0, count: 128)
            while recv(far, &frame, frame.count, Int32(MSG_DONTWAIT)) >= 15 { found.append(frame[14]) }
            #expect(found == Array(0..<10) + Array(13..<20))
            #expect(replayer.takeAccounts().map(\.part) == [.leaving])
            replayer.finish()
            let last = replayer.takeAccounts()
            #expect(last.map(\.part) == [.blackout] && last.map(\.sent) == [17])
        }
    }
}
