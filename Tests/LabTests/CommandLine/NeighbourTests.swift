import Glibc
import Lab
import Testing

/// Neighbours on the bridge's IP interface that follow a guest (docs/neighbours.md).
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct NeighbourTests {
    static let addresses = ["192.0.2.7", "2001:db8::7"]
    static let options = "--ip \(addresses.joined(separator: ",")) --neighbour br0"

    /// Gives the bridge the host's addresses.
    static func run(_ body: @escaping @Sendable (CommandLineLab) throws -> Void) throws {
        try CommandLineLab.run(flooding: false) { lab in
            try Command.script("ip addr add 192.0.2.1/24 dev br0\nip addr add 2001:db8::1/64 dev br0 nodad")
            try body(lab)
        }
    }

    /// What `ip neigh` shows of an address on an interface; empty for nothing.
    static func shown(_ address: String, on interface: String = "br0") throws -> String {
        try Command.run(["ip", "neigh", "show", address, "dev", interface]).output
    }

    /// The neighbours that fdbsteer has made.
    static func own(on interface: String = "br0") throws -> [String] {
        try addresses.filter { address in
            let words = try shown(address, on: interface)
            return words.contains("lladdr \(CommandLineLab.mac)") && words.contains("PERMANENT")
                && words.contains("proto 253")
        }
    }

    private static func run(_ lab: CommandLineLab, _ arguments: String, _ exitCode: Int32 = 0) throws -> String {
        let command = try lab.fdbsteer(arguments)
        #expect(command.exitCode == exitCode, "\(arguments): \(command.output)\(command.errors)")
        return command.output + command.errors
    }

    /// Each has looked before the other made its record: the first call for a lock comes after that, and takes half a second.
    @Test func twoWhoPrepareAtOnceDoNotGetOneNeighbour() throws {
        try NeighbourTests.run { lab in
            try lab.lab.addPort("tap1")
            let slow = [
                "strace", "-f", "-o", "/dev/null", "-e", "trace=fcntl", "-e", "inject=fcntl:delay_enter=500000:when=1",
            ]
            func prepare(_ number: Int) throws -> RunningCommand {
                let words =
                    "prepare vm\(number) --bridge br0 --port tap\(number) --address 52:54:00:00:00:8\(number) --at local "
                    + NeighbourTests.options
                return try RunningCommand(
                    slow + [CommandLineLab.binary] + words.split(separator: " ").map(String.init),
                    environment: ["FDBSTEER_STATE": lab.state])
            }
            let first = try prepare(0)
            let second = try prepare(1)
            let ends = [first.wait(), second.wait()]
            #expect(ends.map(\.exitCode).sorted() == [0, 3], "\(ends)")
            #expect(ends.contains { $0.errors.contains("on br0 follows guest vm") }, "\(ends)")
            #expect(try lab.fdbsteer("reconcile").exitCode == 0)
            #expect(try lab.fdbsteer("status --json").output.ranges(of: "\"guest\" :").count == 1)
        }
    }

    @Test func itIsThereWhileTheGuestIsHereAndNoLonger() throws {
        try NeighbourTests.run { lab in
            let table = try Command.run(["ip", "neigh", "show"]).output
            try lab.prepare(NeighbourTests.options + " --dry-run")
            #expect(try Command.run(["ip", "neigh", "show"]).output == table)
            try lab.prepare(NeighbourTests.options)
            #expect(try NeighbourTests.own() == NeighbourTests.addresses)
            #expect(try lab.prepare(NeighbourTests.options).output.contains("already prepared"))
            for (side, byHand) in [
                ("standby", false), ("remote", false), ("standby", false), ("remote", true), ("primary", true),
            ] {
                // The MAC before the IP address, and the commands do the same.
                let plan = try NeighbourTests.run(lab, "switch vm1 --to \(side) --dry-run")
                let commands = plan.split(separator: "\n").compactMap { line in
                    line.contains("as a command: ip neigh") ? line.split(separator: ":", maxSplits: 1).last : nil
                }
                if let first = plan.firstRange(of: "as a command: ip neigh") {
                    #expect(plan[first.upperBound...].contains("bridge fdb") == false, "\(plan)")
                }
                #expect(commands.isEmpty || commands.count == 2, "\(plan)")
                if byHand { for command in commands { try Command.script(String(command)) } }
                if !byHand { _ = try NeighbourTests.run(lab, "switch vm1 --to \(side)") }
                #expect(try NeighbourTests.own() == (side == "remote" ? [] : NeighbourTests.addresses))
                _ = try NeighbourTests.run(lab, "switch vm1 --to \(side)")
                #expect(try NeighbourTests.own() == (side == "remote" ? [] : NeighbourTests.addresses))
                _ = try NeighbourTests.run(lab, "verify vm1")
                #expect(try lab.fdbsteer("preflight vm1").output.contains("nothing was found"))
            }
            // The collection of the kernel, and `ip neigh flush`, leave permanent ones.
            try Command.script("ip neigh flush all\nip neigh flush dev br0")
            #expect(try NeighbourTests.own() == NeighbourTests.addresses)
            _ = try NeighbourTests.run(lab, "release vm1")
            #expect(try NeighbourTests.addresses.allSatisfy { try !NeighbourTests.shown($0).contains("lladdr") })
        }
    }

    @Test func othersAreReplacedAndGivenBack() throws {
        try NeighbourTests.run { lab in
            let mac = CommandLineLab.mac
            // An operator's, and one that the kernel has learned.
            try Command.script(
                "ip neigh add 192.0.2.7 lladdr \(mac) dev br0\nip neigh add 2001:db8::7 lladdr \(mac) dev br0 nud stale"
            )
            let prepared = try lab.prepare(NeighbourTests.options).output
            #expect(prepared.contains("192.0.2.7 on br0 was another's") && !prepared.contains("2001:db8::7 on"))
            #expect(try NeighbourTests.own() == NeighbourTests.addresses)
            let released = try NeighbourTests.run(lab, "release vm1")
            #expect(released.contains("192.0.2.7 on br0 is static again"), "\(released)")
            let (four, six) = (try NeighbourTests.shown("192.0.2.7"), try NeighbourTests.shown("2001:db8::7"))
            #expect(four.contains("lladdr \(mac)") && four.contains("PERMANENT") && !four.contains("proto"), "\(four)")
            #expect(six.contains("lladdr \(mac)") && six.contains("STALE") && !six.contains("proto"), "\(six)")
        }
    }

    @Test func aControlPlanesIsItsOwnWhileTheGuestIsElsewhere() throws {
        try NeighbourTests.run { lab in
            try lab.prepare(NeighbourTests.options)
            _ = try NeighbourTests.run(lab, "switch vm1 --to remote")
            let advertise =
                "ip neigh replace 192.0.2.7 lladdr \(CommandLineLab.mac) dev br0 nud noarp extern_learn proto zebra"
            try Command.script(advertise)
            let advertised = try NeighbourTests.shown("192.0.2.7")
            _ = try NeighbourTests.run(lab, "verify vm1")
            _ = try NeighbourTests.run(lab, "reconcile")
            #expect(try NeighbourTests.shown("192.0.2.7") == advertised)
            // It is replaced by a guest that comes, and says where it is not again.
            let came = try NeighbourTests.run(lab, "switch vm1 --to standby")
            #expect(came.contains("was a control plane's"), "\(came)")
            #expect(try NeighbourTests.own() == NeighbourTests.addresses)
            try Command.script(advertise)
            let wrong = try NeighbourTests.run(lab, "verify vm1", 3)
            #expect(wrong.contains("192.0.2.7 should be a permanent neighbour") && wrong.contains("a control plane's"))
            #expect(try lab.fdbsteer("preflight vm1").output.contains("loses neighbour br0"))
            _ = try NeighbourTests.run(lab, "reconcile")
            #expect(try NeighbourTests.own() == NeighbourTests.addresses)
            // One that has taken it over keeps it.
            try Command.script(advertise)
            let released = try NeighbourTests.run(lab, "release vm1")
            #expect(released.contains("192.0.2.7 on br0 is not fdbsteer's any more"), "\(released)")
            #expect(try NeighbourTests.shown("192.0.2.7") == advertised)
        }
    }

    @Test(arguments: ["sendmsg", "openat,renameat,unlinkat,symlinkat,mkdirat"]) func killedAnywhere(_ call: String)
        throws
    {
        try NeighbourTests.run { lab in
            try lab.prepare(NeighbourTests.options)
            for (from, to) in [("primary", "remote"), ("remote", "standby")] {
                var kills = 0
                for step in 1... {
                    _ = try NeighbourTests.run(lab, "switch vm1 --to \(from)")
                    let command = try Command.run(
                        [
                            "strace", "-f", "-o", "/dev/null", "-e", "trace=\(call)", "-e",
                            "inject=\(call):signal=KILL:when=\(step)",
                        ] + (call.hasPrefix("openat") ? ["-P", lab.state] : [])
                            + [CommandLineLab.binary, "switch", "vm1", "--to", to],
                        environment: ["FDBSTEER_STATE": lab.state])
                    if command.exitCode != 0 { kills += 1 }
                    _ = try NeighbourTests.run(lab, "reconcile")
                    _ = try NeighbourTests.run(lab, "verify vm1")
                    let isHere = try !NeighbourTests.run(lab, "status vm1 --json").contains("\"side\" : \"remote\"")
                    #expect(try NeighbourTests.own() == (isHere ? NeighbourTests.addresses : []), "\(call) \(step)")
                    if command.exitCode == 0 { break }
                }
                #expect(kills >= 2, "\(from) to \(to): only \(kills) calls of \(call)")
            }
        }
    }

    @Test func whatTheKernelRefusesIsRolledBack() throws {
        try NeighbourTests.run { lab in
            try lab.prepare(NeighbourTests.options)
            _ = try NeighbourTests.run(lab, "switch vm1 --to remote")
            // IPv6 has no interface of less than 1,280 bytes.
            try Command.script("ip link set br0 mtu 1000")
            let failed = try NeighbourTests.run(lab, "switch vm1 --to standby", 4)
            #expect(failed.contains("refused the neighbour 2001:db8::7 on br0"), "\(failed)")
            #expect(try lab.lab.entry(CommandLineLab.mac)?.contains("dev uplink0 master br0 static") == true)
            #expect(try NeighbourTests.own().isEmpty)
            #expect(try NeighbourTests.run(lab, "status vm1 --json").contains("\"side\" : \"remote\""))
        }
    }

    @Test func whatCannotBeIsRefused() throws {
        try NeighbourTests.run { lab in
            let begin =
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --at primary "
                + "--address \(CommandLineLab.mac)"
            try lab.refused("\(begin) --neighbour br0", code: 64, saying: "--ip")
            try lab.refused("\(begin) --ip 192.0.2.7 --neighbour br0,br0", code: 64, saying: "br0 twice")
            try lab.refused("\(begin) --ip 192.0.2.7 --neighbour tap0", code: 64, saying: "which has no neighbours")
            try lab.refused("\(begin) --ip 192.0.2.7 --neighbour none0", code: 3, saying: "no such interface")
            try lab.prepare(NeighbourTests.options)
            try Command.script("ip link add gw0 link br0 type macvlan\nip link set gw0 up")
            try lab.refused(
                "\(begin) --ip 192.0.2.7,2001:db8::7 --neighbour gw0", code: 3, saying: "interface is br0, not gw0")
            for port in ["p2", "t2"] { try lab.lab.addPort(port) }
            try lab.refused(
                "prepare vm2 --bridge br0 --primary p2 --standby t2 --at primary --address 52:54:00:00:00:09 "
                    + "--ip 192.0.2.7 --neighbour br0", code: 3, saying: "192.0.2.7 on br0 follows guest vm1")
            // Where nobody asked for it, there is none.
            _ = try NeighbourTests.run(lab, "release vm1")
            try lab.prepare("--ip 192.0.2.7")
            #expect(try NeighbourTests.own().isEmpty)
        }
    }

    @Test func twoHundredOnAMacvlan() throws {
        try NeighbourTests.run { lab in
            try Command.script("ip link add gw0 link br0 type macvlan\nip link set gw0 up")
            for guest in 1...4 {
                for port in ["a\(guest)", "b\(guest)"] { try lab.lab.addPort(port) }
                let ips = (1...50).map { "10.\(guest).0.\($0)" }.joined(separator: ",")
                _ = try NeighbourTests.run(
                    lab,
                    "prepare vm\(guest) --bridge br0 --primary a\(guest) --standby b\(guest) --at primary --uplink uplink0 "
                        + "--address 52:54:00:00:01:0\(guest) --ip \(ips) --neighbour gw0")
            }
            func count() throws -> Int {
                try Command.run(["ip", "neigh", "show", "dev", "gw0", "nud", "permanent"]).output
                    .split(separator: "\n").count { $0.contains("proto 253") }
            }
            #expect(try count() == 200)
            _ = try NeighbourTests.run(lab, "switch vm1 --to remote")
            #expect(try count() == 150)
            _ = try NeighbourTests.run(lab, "switch vm1 --to primary")
            #expect(try count() == 200)
            for guest in 1...4 { _ = try NeighbourTests.run(lab, "release vm\(guest)") }
            #expect(try count() == 0)
        }
    }
}
