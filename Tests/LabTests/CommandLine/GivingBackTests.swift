import Glibc
import Lab
import Testing

/// `release` gives back what `prepare` found: entries and settings, compared as `bridge -d` shows them.
@Suite(.enabled(if: obstacle == nil, "\(obstacle ?? "")")) struct GivingBackTests {
    static let mac = CommandLineLab.mac

    enum Found: String, CaseIterable {
        case none, learned, dynamic, fixed = "static", external = "extern_learn"
    }

    static let sides = ["vfrep0": "primary", "tap0": "standby", "uplink0": "remote"]

    static let routes: [[String]] = [
        [], ["switch vm1 --to standby", "switch vm1 --to primary", "switch vm1 --to remote"],
        ["switch vm1 --to standby --strategy bracket", "abort vm1"],
    ]

    /// Makes the entry that is to be found.
    private func make(_ found: Found, on port: String, in lab: CommandLineLab) throws {
        _ = try Command.run(["bridge", "fdb", "del", Self.mac, "dev", port, "master"])
        switch found {
        case .none: break
        case .learned: try BridgeLab.sendFrame(behind: port, source: Self.mac)
        default: try Command.script("bridge fdb add \(Self.mac) dev \(port) master \(found.rawValue)")
        }
    }

    private func links() throws -> String {
        try Command.run(["bridge", "-d", "link", "show"]).output.replacing(/\smcast_n_groups \d+/, with: "")
    }

    @Test(arguments: [true, false], [true, false])
    func everythingIsAsFound(learning: Bool, flooding: Bool) throws {
        try CommandLineLab.run(flooding: flooding) { lab in
            for port in ["vfrep0", "tap0", "uplink0"] {
                try Command.script("bridge link set dev \(port) learning \(learning ? "on" : "off")")
            }
            let settings = try links()
            for (port, side) in Self.sides {
                for found in Found.allCases where found != .learned || learning {
                    for route in Self.routes where side == "primary" || !route.contains("abort vm1") {
                        try make(found, on: port, in: lab)
                        let before = try lab.lab.entry(Self.mac)
                        let prepare =
                            "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --address "
                            + "\(Self.mac) --at \(side) --kind net_failover"
                        let back = route.isEmpty || route.contains("abort vm1") ? [] : ["switch vm1 --to \(side)"]
                        var last: Command?
                        for verb in [prepare] + route + back + ["release vm1"] {
                            let command = try lab.fdbsteer(verb)
                            #expect(command.exitCode == 0, "\(verb): \(command.errors)")
                            last = command
                        }
                        let what = "\(found) on \(port), learning \(learning), flood \(flooding), after \(route)"
                        let after = try lab.lab.entry(Self.mac)
                        let said = last?.output ?? ""
                        switch found {
                        case .fixed, .external:
                            #expect(after == before, "\(what)")
                        case _ where !learning && !flooding:
                            // Aged or deleted, nobody would reach the guest any more.
                            #expect(after?.hasSuffix("dev \(port) master br0 static") == true, "\(what)")
                            #expect(said.contains("stays static on \(port)"), "\(said)")
                        case .learned, .dynamic:
                            #expect(after == before, "\(what)")
                        case .none where learning:
                            #expect(after?.hasSuffix("dev \(port) master br0 ") == true, "\(what)")
                        case .none:
                            #expect(after == nil, "\(what)")
                        }
                        #expect(try links() == settings, "\(what)")
                        if after != nil { try Command.script("bridge fdb del \(Self.mac) dev \(port) master") }
                    }
                }
            }
        }
    }

    /// The kind of entry goes with the guest, but not what had its reason in the place where it was found.
    @Test(arguments: [
        (Found.fixed, "vfrep0", "standby", "dev tap0 master br0 static"),
        (.fixed, "uplink0", "standby", "dev tap0 master br0 static"),
        (.fixed, "tap0", "remote", "dev uplink0 master br0 "),
        (.external, "uplink0", "standby", "dev tap0 master br0 "),
        (.external, "uplink0", "primary", "dev vfrep0 master br0 "),
        (.external, "vfrep0", "standby", "dev tap0 master br0 "),
        (.learned, "vfrep0", "remote", "dev uplink0 master br0 "),
    ])
    func aGuestThatHasMoved(_ found: Found, _ port: String, _ side: String, _ expected: String) throws {
        try CommandLineLab.run { lab in
            try make(found, on: port, in: lab)
            let prepare =
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --address \(Self.mac)"
            for verb in [prepare, "switch vm1 --to \(side)", "release vm1"] {
                let command = try lab.fdbsteer(verb)
                #expect(command.exitCode == 0, "\(verb): \(command.errors)")
            }
            let after = try lab.lab.entry(Self.mac)
            #expect(after?.hasSuffix(expected) == true, "\(after ?? "none")")
        }
    }

    @Test func whatTheUserHasSetSinceIsLeft() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try Command.script("bridge link set dev vfrep0 backup_port uplink0")
            // Neither a repair nor a release takes it for its own.
            #expect(try lab.fdbsteer("reconcile").exitCode == 0)
            #expect(try links().contains("backup_port uplink0"))
            let release = try lab.fdbsteer("release vm1")
            #expect(release.exitCode == 0 && release.output.contains("vfrep0 keeps its backup port uplink0"))
            #expect(try links().contains("backup_port uplink0"), "\(release.output)")
        }
    }

    @Test(arguments: ["tap0", "br0", "vfrep0"])
    func whatNoLongerExists(_ gone: String) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
            try Command.script("ip link del \(gone)")
            let release = try lab.fdbsteer("release vm1")
            #expect(release.exitCode == 0, "\(release.errors)")
            #expect(release.output.contains(gone), "\(release.output)")
            #expect(try lab.fdbsteer("status").output.contains("vm1") == false)
            if gone == "tap0" {
                #expect(try Command.run(["bridge", "-d", "link"]).output.contains("learning off") == false)
            }
        }
    }

    /// A switch whose last write failed, or whose process was killed before it: frames have followed, so nothing moves back.
    @Test func aSwitchThatOnlyTheRecordDoesNotKnowStays() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
            let path = lab.state + "/guests/vm1.json"
            let text = TextFile.read(path)
            let unfinished = text.replacing("\"side\" : \"standby\"", with: "\"side\" : \"primary\"").replacing(
                "\"phase\" : \"pinned\"", with: "\"phase\" : \"switching\",\n  \"goal\" : \"standby\"")
            #expect(unfinished != text)
            try TextFile.write(unfinished, to: path)
            let reconcile = try lab.fdbsteer("reconcile")
            #expect(reconcile.exitCode == 0 && reconcile.output.contains("a switching did not end: on standby already"))
            #expect(try lab.lab.entry(Self.mac)?.hasSuffix("dev tap0 master br0 static") == true)
            #expect(try lab.fdbsteer("verify vm1").output.contains("as intended, on standby"))
        }
    }

    /// A process died in the middle of a verb, and then what it was about went: the record says so and holds nothing else up.
    @Test(arguments: ["abort vm1", "reconcile"], ["ip link set vfrep0 nomaster", "ip link del br0"])
    func whatCannotBeUndoneAnyMoreEnds(_ verb: String, _ loss: String) throws {
        for phase in ["switching", "releasing"] {
            try CommandLineLab.run { lab in
                try lab.prepare()
                let path = lab.state + "/guests/vm1.json"
                let text = TextFile.read(path)
                let unfinished = text.replacing(
                    "\"phase\" : \"pinned\"", with: "\"phase\" : \"\(phase)\",\n  \"goal\" : \"standby\"")
                #expect(unfinished != text)
                try TextFile.write(unfinished, to: path)
                try Command.script(loss)
                let ended = try lab.fdbsteer(verb)
                #expect(ended.exitCode == 0 || verb == "reconcile", "\(ended.output)\(ended.errors)")
                let status = try lab.fdbsteer("status --json").output
                if phase == "releasing" {
                    #expect(!status.contains("vm1"), "\(ended.output)\n\(status)")
                    #expect(!(try Command.run(["nft", "list", "tables"]).output.contains("fdbsteer")))
                } else {
                    #expect(status.contains("\"phase\" : \"pinned\""), "\(ended.output)\n\(status)")
                    #expect(
                        ended.output.contains(loss.contains("br0") ? "no longer exists" : "no port of br0"),
                        "\(ended.output)")
                    #expect(try lab.fdbsteer("release vm1").exitCode == 0)
                }
            }
        }
    }

    /// A frame moves a pin that is not sticky, and leaves it static; a port that does not learn has it from a program.
    @Test(arguments: [true, false]) func aPinOnAPortOfOthers(learning: Bool) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try Command.script("ip link del uplink0")
            try lab.lab.addPort("uplink0")
            try Command.script("bridge link set dev uplink0 learning \(learning ? "on" : "off")")
            // As a frame by that port would leave it.
            try Command.script("bridge fdb replace \(Self.mac) dev uplink0 master static")
            let release = try lab.fdbsteer("release vm1")
            #expect(release.exitCode == 0, "\(release.errors)")
            let entry = try lab.lab.entry(Self.mac) ?? ""
            #expect(
                entry.contains("dev uplink0") && entry.contains("static") != learning, "\(entry)\n\(release.output)")
            let said = learning ? "was moved to uplink0 by a frame" : "left alone"
            #expect(release.output.contains(said), "\(release.output)")
        }
    }

    /// The uplink is made anew, a frame there moves the pin to it, and `prepare` replaces the record: the new record must not list
    /// that pin as found.
    @Test func aPinOfOursIsNoFindOfTheNextPrepare() throws {
        try CommandLineLab.run { lab in
            try BridgeLab.sendFrame(behind: "vfrep0", source: Self.mac)
            try lab.prepare()
            try Command.script("ip link del uplink0")
            try lab.lab.addPort("uplink0")
            // As a frame by that port would leave it.
            try Command.script("bridge fdb replace \(Self.mac) dev uplink0 master static")
            let again = try lab.fdbsteer(
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --address \(Self.mac)")
            #expect(again.exitCode == 0 && again.output.contains("prepared anew"), "\(again.output)\(again.errors)")
            #expect(try lab.lab.entry(Self.mac)?.contains("dev vfrep0 master br0 static") == true)
            let release = try lab.fdbsteer("release vm1")
            #expect(release.exitCode == 0, "\(release.errors)")
            let entry = try lab.lab.entry(Self.mac) ?? ""
            #expect(entry.contains("vfrep0") && !entry.contains("static"), "\(entry)\n\(release.output)")
        }
    }
}
