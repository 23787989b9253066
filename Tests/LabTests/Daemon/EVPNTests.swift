import Glibc
import Lab
import Testing

/// Hand-overs between two hosts with FRR's zebra and bgpd, each with fdbsteerd.
@Suite(.enabled(if: EVPNLab.obstacle == nil, "\(EVPNLab.obstacle ?? "")"), .serialized) struct EVPNTests {
    private static let mac = "52:54:00:12:34:56"

    private static func run(
        _ body: @escaping @Sendable (EVPNLab, _ source: EVPNHost, _ target: EVPNHost) throws -> Void
    ) throws {
        try EVPNLab.run { lab in
            let folders = try [TemporaryFolder(), TemporaryFolder()]
            defer { folders.forEach { $0.remove() } }
            let hosts = try zip([lab.source, lab.target], folders).map {
                try EVPNHost($0, programs: CommandLineLab.products, state: $1.path)
            }
            for host in hosts { try host.startDaemon() }
            defer { hosts.forEach { $0.endDaemon() } }
            try body(lab, hosts[0], hosts[1])
        }
    }

    private static func wait(_ what: String, until isSo: () throws -> Bool) throws {
        for _ in 0..<500 {
            if try isSo() { return }
            usleep(20_000)
        }
        throw LabError("not within 10 s: \(what)")
    }

    /// Both hosts know the guest, which is on the source's standby.
    private static func prepare(_ lab: EVPNLab, _ source: EVPNHost, _ target: EVPNHost) throws {
        try source.prepare("vm1", mac, at: "standby")
        try wait("the target has a route") {
            try lab.entries(mac, on: lab.target).contains("dst \(lab.source.address)")
        }
        try target.prepare("vm1", mac, at: "remote")
    }

    private static func side(_ host: EVPNHost) throws -> String {
        let status = try host.fdbsteer("status vm1 --json").output
        return status.firstMatch(of: /"side" : "(\w+)"/).map { String($0.output.1) } ?? ""
    }

    /// The route is the target's, by one move, and both hosts' records say so.
    private static func expectHandOver(_ lab: EVPNLab, _ source: EVPNHost, _ target: EVPNHost) throws {
        try wait("the source follows") { try side(source) == "remote" }
        for host in [source, target] {
            #expect(try host.fdbsteer("verify vm1", expecting: [0, 3]).exitCode == 0, "\(host.log)")
            #expect(!host.log.contains("repaired"), "\(host.log)")
        }
        #expect(try lab.mobility(of: mac, on: lab.source) == 1)
        #expect(try lab.entries(mac, on: lab.source).contains("dev vx100 dst \(lab.target.address) self"))
        #expect(try lab.entries(mac, on: lab.target).contains("dev tap0 master br0 static"))
    }

    @Test func theTargetAloneIsTold() throws {
        try EVPNTests.run { lab, source, target in
            // A port that serves others was pinned sticky once, which zebra tells the fabric.
            try source.script("bridge fdb add 02:00:00:00:00:a7 dev tap0 master static")
            try target.script("bridge fdb add 02:00:00:00:00:b7 dev tap0 master static")
            try EVPNTests.prepare(lab, source, target)
            try target.fdbsteer("switch vm1 --to standby")
            try EVPNTests.expectHandOver(lab, source, target)
            let released = try source.fdbsteer("release vm1").output
            #expect(released.contains("1 to a control plane"), "\(released)")
            let left = try lab.entries(EVPNTests.mac, on: lab.source)
            #expect(left.contains("dev vx100 extern_learn master br0") && !left.contains("static"), "\(left)")
        }
    }

    /// The source withdraws the only route, and the target has none to take over; and when the guest has come, its former VTEP stays in
    /// the entries of the VXLAN device.
    @Test func theSourceIsToldBeforeTheTarget() throws {
        try EVPNTests.run { lab, source, target in
            /// Waits until `preflight` finds something about the guest, or does not, on each of some hosts.
            func wait(on hosts: [EVPNHost], for code: String, isFound: Bool) throws {
                try EVPNTests.wait("\(code) \(isFound ? "is" : "is not") found") {
                    try hosts.allSatisfy {
                        try $0.fdbsteer("preflight vm1 --json", expecting: [0, 3]).output.contains("\"\(code)\"")
                            == isFound
                    }
                }
            }
            try EVPNTests.prepare(lab, source, target)
            try wait(on: [target], for: "not-advertised", isFound: false)
            try source.fdbsteer("switch vm1 --to remote")
            try wait(on: [source, target], for: "not-advertised", isFound: true)
            try target.fdbsteer("switch vm1 --to standby")
            try wait(on: [source, target], for: "not-advertised", isFound: false)
            // Back, in the right order.
            try source.fdbsteer("switch vm1 --to standby")
            try target.fdbsteer("switch vm1 --to remote")
            try wait(on: [target], for: "not-advertised", isFound: false)
            try wait(on: [source], for: "self-entry-left", isFound: true)
            try wait(on: [target], for: "self-entry-left", isFound: false)
        }
    }

    /// The frame has moved the route: to put the entry back would leave both hosts without one.
    @Test func nobodyIsToldAndTheGuestAnnouncesItselfOnce() throws {
        try EVPNTests.run { lab, source, target in
            try EVPNTests.prepare(lab, source, target)
            try Interface.transmit(FabricLab.announcement(of: EVPNTests.mac), from: lab.target.far("tap0"))
            try EVPNTests.wait("the source follows") { try EVPNTests.side(source) == "remote" }
            usleep(1_000_000)
            let kept = try lab.entries(EVPNTests.mac, on: lab.target)
            #expect(kept.contains("dev tap0 master br0"), "\(kept)\n\(target.log)")
            #expect(try lab.mobility(of: EVPNTests.mac, on: lab.source) == 1)
            try target.fdbsteer("switch vm1 --to standby")
            try EVPNTests.expectHandOver(lab, source, target)
        }
    }
}
