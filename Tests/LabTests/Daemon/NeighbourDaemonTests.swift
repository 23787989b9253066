import Glibc
import Lab
import Testing

/// The daemon and the neighbours that follow guests.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct NeighbourDaemonTests {
    private static func run(_ body: @escaping @Sendable (DaemonLab) throws -> Void) throws {
        try NeighbourTests.run { lab in
            try Command.script("ip link add gw0 link br0 type macvlan\nip link set gw0 up")
            try lab.prepare("--ip \(NeighbourTests.addresses.joined(separator: ",")) --neighbour gw0")
            try DaemonLab.run(in: lab) { try body($0) }
        }
    }

    private static func wait(_ daemon: DaemonLab, for own: [String] = NeighbourTests.addresses) throws {
        for _ in 0..<1000 {
            if try NeighbourTests.own(on: "gw0") == own { return }
            usleep(10_000)
        }
        throw LabError("the neighbours are \(try NeighbourTests.own(on: "gw0")):\n\(daemon.log)")
    }

    @Test func itMakesAgainWhatIsGoneOrReplaced() throws {
        try NeighbourDaemonTests.run { daemon in
            try Command.script("ip neigh del 192.0.2.7 dev gw0")
            try NeighbourDaemonTests.wait(daemon)
            try Command.script("ip neigh replace 2001:db8::7 lladdr 52:54:00:00:00:09 dev gw0 nud permanent")
            try NeighbourDaemonTests.wait(daemon)
            try daemon.waitFor("repaired", times: 2)
            // An interface that is down keeps none.
            try Command.script("ip link set gw0 down")
            try daemon.waitFor("gw0: it is down")
            #expect(try daemon.lab.fdbsteer("verify vm1").exitCode == 3)
            try Command.script("ip link set gw0 up")
            try NeighbourDaemonTests.wait(daemon)
            #expect(try daemon.lab.fdbsteer("verify vm1").exitCode == 0)
            // Its own redirections are no drift.
            let repairs = daemon.count("repaired")
            for side in ["remote", "standby", "remote", "primary"] {
                #expect(try daemon.lab.fdbsteer("switch vm1 --to \(side)").exitCode == 0)
            }
            usleep(300_000)
            try NeighbourDaemonTests.wait(daemon)
            #expect(daemon.count("repaired") == repairs, "\(daemon.log)")
        }
    }

    @Test func aControlPlaneIsContradictedOnceAMinute() throws {
        try NeighbourDaemonTests.run { daemon in
            let advertise =
                "ip neigh replace 192.0.2.7 lladdr \(CommandLineLab.mac) dev gw0 nud noarp extern_learn proto zebra"
            try Command.script(advertise)
            try NeighbourDaemonTests.wait(daemon)
            try Command.script(advertise)
            try daemon.waitFor("neighbour-claimed")
            usleep(500_000)
            #expect(try NeighbourTests.shown("192.0.2.7", on: "gw0").contains("extern_learn"))
            #expect(daemon.count("repaired") == 1, "\(daemon.log)")
            // What is missing meanwhile is made.
            try Command.script("ip neigh del 2001:db8::7 dev gw0")
            try NeighbourDaemonTests.wait(daemon, for: ["2001:db8::7"])
            #expect(try NeighbourTests.shown("192.0.2.7", on: "gw0").contains("extern_learn"))
            // A guest that goes leaves it to the control plane.
            #expect(try daemon.lab.fdbsteer("switch vm1 --to remote").exitCode == 0)
            #expect(try NeighbourTests.shown("192.0.2.7", on: "gw0").contains("extern_learn"))
            try NeighbourDaemonTests.wait(daemon, for: [])
        }
    }
}
