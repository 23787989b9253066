import Glibc
import Lab
import System
import Testing

/// The MAC/IP route of a guest between two hosts with FRR: the neighbour that follows the guest makes it.
@Suite(.enabled(if: EVPNLab.obstacle == nil, "\(EVPNLab.obstacle ?? "")"), .serialized) struct EVPNNeighbourTests {
    private static let mac = "52:54:00:12:34:56"
    private static let addresses = ["192.0.2.77", "2001:db8::77"]

    /// Whether a host's kernel has the guest's neighbours as zebra makes them of the other host's route.
    private static func hasRoute(_ host: EVPNHost) throws -> Bool {
        try host.lab.namespace.run {
            try addresses.allSatisfy { address in
                let shown = try Command.run(["ip", "neigh", "show", address, "dev", "br0"]).output
                return shown.contains("lladdr \(mac)") && shown.contains("extern_learn")
            }
        }
    }

    private static func own(_ host: EVPNHost) throws -> Int {
        try host.lab.namespace.run {
            try addresses.count { address in
                let shown = try Command.run(["ip", "neigh", "show", address, "dev", "br0"]).output
                return shown.contains("PERMANENT") && shown.contains("proto 253") && !shown.contains("extern_learn")
            }
        }
    }

    /// Milliseconds until it is so.
    private static func wait(_ what: String, _ hosts: [EVPNHost], until isSo: () throws -> Bool) throws -> Int64 {
        let begin = monotonicNanoseconds()
        while monotonicNanoseconds() - begin < 10_000_000_000 {
            if try isSo() { return (monotonicNanoseconds() - begin) / 1_000_000 }
            usleep(2000)
        }
        throw LabError("not within 10 s: \(what)\n\(hosts.map(\.log).joined(separator: "\n"))")
    }

    @Test func itIsAtThePeerAtOnce() throws {
        try EVPNLab.run { lab in
            let folders = try [TemporaryFolder(), TemporaryFolder()]
            defer { folders.forEach { $0.remove() } }
            let hosts = try zip([lab.source, lab.target], folders).map {
                try EVPNHost($0, programs: CommandLineLab.products, state: $1.path)
            }
            for (host, number) in zip(hosts, 1...) {
                try host.script(
                    "ip addr add 192.0.2.\(number)/24 dev br0\nip addr add 2001:db8::\(number)/64 dev br0 nodad")
                try host.startDaemon()
            }
            defer { hosts.forEach { $0.endDaemon() } }
            func prepare(_ host: EVPNHost, at side: String) throws {
                try host.fdbsteer(
                    "prepare vm1 --bridge br0 --primary vf0 --standby tap0 --uplink vx100 --at \(side) "
                        + "--address \(EVPNNeighbourTests.mac) --neighbour br0 "
                        + "--ip \(EVPNNeighbourTests.addresses.joined(separator: ","))")
            }
            try prepare(hosts[0], at: "standby")
            _ = try EVPNNeighbourTests.wait("the target has the route", hosts) {
                try EVPNNeighbourTests.hasRoute(hosts[1])
            }
            try prepare(hosts[1], at: "remote")
            #expect(try EVPNNeighbourTests.hasRoute(hosts[1]), "FRR's own stays")
            for (from, to) in [(0, 1), (1, 0)] {
                try hosts[to].fdbsteer("switch vm1 --to standby")
                let time = try EVPNNeighbourTests.wait("the peer has the route", hosts) {
                    try EVPNNeighbourTests.hasRoute(hosts[from])
                }
                #expect(time < 1000, "\(time) ms; 200 are the aim on a machine that is not busy")
                print("the MAC/IP routes were at the peer \(time) ms after the switch")
                let follows = try EVPNNeighbourTests.wait("both are as intended", hosts) {
                    try hosts.allSatisfy { try $0.fdbsteer("verify vm1", expecting: [0, 3]).exitCode == 0 }
                }
                print("both hosts were as intended \(follows) ms after that")
                usleep(500_000)
                #expect(try EVPNNeighbourTests.own(hosts[to]) == 2 && EVPNNeighbourTests.hasRoute(hosts[from]))
                #expect(try EVPNNeighbourTests.own(hosts[from]) == 0)
            }
            let moves = try lab.mobility(of: EVPNNeighbourTests.mac, on: lab.source)
            #expect(moves == 2, "one a hand-over: \(moves ?? -1)")
            #expect(try !lab.isDuplicate(EVPNNeighbourTests.mac, on: lab.source))
            for host in hosts { #expect(!host.log.contains("repaired"), "\(host.log)") }
        }
    }
}
