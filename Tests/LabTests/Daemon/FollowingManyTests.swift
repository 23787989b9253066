import Glibc
import Lab
import Testing

/// Many guests of one host that migrate at the same time; the test controls their monitors.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct FollowingManyTests {
    private static let count = 10
    private static let frames = 40

    private static func mac(_ guest: Int) -> String { "52:54:00:fd:c0:\(guest < 10 ? "0" : "")\(guest)" }

    private static func ports(_ guest: Int) -> (primary: String, standby: String) { ("many\(guest)v", "many\(guest)t") }

    /// Sends to each guest in turn while `body` runs, and expects each frame only on its own guest's ports.
    private static func send(
        to expected: (Int) -> Set<String>, _ words: String, during: (Int) -> Void = { _ in }
    ) throws {
        let all = (0..<count).flatMap { [ports($0).primary, ports($0).standby] }
        for guest in 0..<count {
            let tally = try FrameTally(all.map(BridgeLab.far))
            let counts = try tally.send(
                frames, from: BridgeLab.far("uplink0"), to: mac(guest), source: "52:54:00:fd:b5:fe"
            ) { number in
                if number == frames / 4 { during(guest) }
            }
            let own = expected(guest)
            for (place, numbers) in counts where !own.contains(place) {
                #expect(numbers.isEmpty, "\(words): frames of guest \(guest) on \(place)")
            }
            let arrived = own.reduce(into: Set<UInt32>()) { $0.formUnion(counts[$1]?.keys.map { $0 } ?? []) }
            #expect(arrived.count == (own.isEmpty ? 0 : frames), "\(words): guest \(guest)")
        }
    }

    @Test func tenGuestsThatLeaveAtOnceKeepTheirFramesApart() throws {
        let (count, mac) = (FollowingManyTests.count, FollowingManyTests.mac)
        try CommandLineLab.run(flooding: false) { lab in
            let monitors = try (0..<count).map { _ in try FakeMonitor() }
            var configuration = ""
            for guest in 0..<count {
                let ports = FollowingManyTests.ports(guest)
                try lab.lab.addPort(ports.primary)
                try lab.lab.addPort(ports.standby)
                let prepared = try lab.fdbsteer(
                    "prepare vm\(guest) --bridge br0 --primary \(ports.primary) --standby \(ports.standby) "
                        + "--uplink uplink0 --kind net_failover --at primary --address \(mac(guest))")
                #expect(prepared.exitCode == 0, "\(prepared.errors)")
                configuration +=
                    "[[guest]]\nid = \"vm\(guest)\"\nqmp = \"\(monitors[guest].path)\"\nfollow = true\n"
                    + "primary_device = \"prim\"\nstandby_device = \"net1\"\n"
            }
            try DaemonLab.run(in: lab, configuration: configuration) { daemon in
                for monitor in monitors { try monitor.serve() }
                try daemon.waitFor("to=primary", times: count)
                func both(_ guest: Int) -> Set<String> {
                    let ports = FollowingManyTests.ports(guest)
                    return [BridgeLab.far(ports.primary), BridgeLab.far(ports.standby)]
                }
                func standby(_ guest: Int) -> Set<String> { [BridgeLab.far(FollowingManyTests.ports(guest).standby)] }

                // Each is asked for its primary while frames to it are in flight; no guest waits for the others.
                try FollowingManyTests.send(to: both, "leaving") { guest in
                    monitors[guest].tell("UNPLUG_PRIMARY", #"{"device-id": "prim"}"#)
                }
                try daemon.waitFor("bracket opened", times: count)
                try FollowingManyTests.send(to: both, "left to choose")
                for monitor in monitors { monitor.tell("MIGRATION", #"{"status": "active"}"#) }
                try FollowingManyTests.send(to: both, "letting go")
                try daemon.waitFor("to=migrating", times: count)
                try FollowingManyTests.send(to: standby, "on the standby")
                for monitor in monitors {
                    monitor.tell("STOP")
                    monitor.tell("MIGRATION", #"{"status": "completed"}"#)
                }
                try daemon.waitFor("to=gone", times: count)
                // They are seen at their new places.
                for guest in 0..<count { try BridgeLab.sendFrame(behind: "uplink0", source: mac(guest)) }
                try daemon.waitFor("to=remote", times: count)
                try FollowingManyTests.send(to: { _ in [] }, "gone")
                for guest in 0..<count { #expect(try lab.fdbsteer("verify vm\(guest)").exitCode == 0) }
                #expect(daemon.count("code=needs-attention") == 0, "\(daemon.log)")
                #expect(try Command.run(["nft", "list", "tables", "netdev"]).output.contains("fdbsteer-vm") == false)
            }
        }
    }
}
