import Glibc
import Lab
import Testing

/// Findings about missing objects, addresses and costs; and what preflight itself does and does not do.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct PreflightPortTests {
    private static let mac = CommandLineLab.mac

    /// Each case: how the port is broken, how it is repaired, and the finding.
    @Test(arguments: [
        ("ip link set tap0 down", "ip link set tap0 up", "blocks port-down tap0"),
        ("ip link set tap0-far down", "ip link set tap0-far up", "blocks no-carrier tap0"),
        ("bridge link set dev tap0 state 0", "bridge link set dev tap0 state 3", "blocks not-forwarding tap0"),
        ("ip link set tap0 nomaster", "ip link set tap0 master br0", "blocks not-a-port tap0"),
        ("ip link set tap0 master br1", "ip link set tap0 master br0", "blocks other-master tap0"),
    ])
    func aPortThatCannotDeliver(broken: String, mended: String, finding: String) throws {
        try CommandLineLab.run { lab in
            try lab.script("ip link add br1 type bridge\nip link set br1 up")
            try lab.prepare()
            try lab.script(broken)
            for _ in 0..<500 where try lab.fdbsteer("preflight vm1").exitCode == 0 { usleep(10_000) }
            try lab.preflight("vm1", finds: finding)
            try lab.preflight(CommandLineLab.arguments + " --waive other-guest", finds: finding)
            try lab.refused("switch vm1 --to standby", code: 3, saying: "tap0")
            // An operator who waives it loses all frames.
            if !broken.contains("master") {
                try lab.script("bridge fdb replace \(PreflightPortTests.mac) dev tap0 master static")
                #expect(try lab.fromNetwork() == [])
            }
            try lab.script(mended)
            #expect(try lab.forwards("tap0"))
            try lab.script("bridge link set dev tap0 learning off")
            try lab.preflight("vm1")
            try lab.moved(to: "standby")
            #expect(try lab.fromNetwork() == ["tap0-far"])
        }
    }

    @Test func tapWithoutReader() throws {
        try CommandLineLab.run { lab in
            try lab.script(
                """
                ip tuntap add dev tap1 mode tap
                ip link set tap1 addrgenmode none
                ip link set tap1 master br0
                ip link set tap1 up
                """)
            let arguments = CommandLineLab.arguments.replacing("tap0", with: "tap1")
            try lab.preflight(arguments, finds: "blocks tap-without-reader tap1", also: "costs offload-features tap1")
            let prepared = try lab.fdbsteer("prepare vm1 \(arguments)")
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            try lab.refused("switch vm1 --to standby", code: 3, saying: "tap1")
            let machine = try TapReader("tap1")
            #expect(try lab.forwards("tap1"))
            try lab.preflight("vm1")
            try lab.moved(to: "standby")
            _ = machine.hasReceived(frameTo: PreflightPortTests.mac)
            #expect(try lab.fromNetwork() == [])
            let isReceived = machine.hasReceived(frameTo: PreflightPortTests.mac)
            #expect(isReceived)
        }
    }

    @Test func aMacvtapOnTheNIC() throws {
        try CommandLineLab.run { lab in
            try lab.script("ip link add mv0 link uplink0-far type macvtap mode bridge")
            let arguments = CommandLineLab.arguments.replacing("tap0", with: "mv0")
            try lab.preflight(arguments, finds: "blocks macvlan mv0")
            try lab.refused("prepare vm1 \(arguments)", code: 3, saying: "mv0")
            // This port accepts no entry.
            let entry = ["bridge", "fdb", "replace", PreflightPortTests.mac, "dev", "mv0", "master", "static"]
            #expect(try Command.run(entry).exitCode != 0)
        }
    }

    @Test func thingsThatAreNotThere() throws {
        try CommandLineLab.run { lab in
            try lab.preflight(
                CommandLineLab.arguments.replacing("tap0", with: "tap7"), finds: "blocks no-interface tap7")
            try lab.preflight(CommandLineLab.arguments.replacing("br0", with: "br7"), finds: "blocks no-bridge br7")
            try lab.preflight(
                CommandLineLab.arguments.replacing("br0", with: "tap0-far"), finds: "blocks no-bridge tap0-far")
            try lab.preflight(
                CommandLineLab.arguments.replacing("tap0", with: "vfrep0"), finds: "blocks same-port vfrep0")
            for wrong in ["preflight", "preflight vm1 --bridge br0", "preflight --bridge br0 --primary a --standby b"] {
                #expect(try lab.fdbsteer(wrong).exitCode == 64)
            }
            #expect(try lab.fdbsteer("preflight \(CommandLineLab.arguments) --waive nonsense").exitCode == 64)
            try lab.refused("preflight vm1", code: 3, saying: "vm1 is not known")
        }
    }

    @Test func aBridgeThatIsDown() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try lab.script("ip link set br0 down")
            #expect(try lab.fromNetwork() == [])
            let found = try lab.fdbsteer("preflight vm1")
            #expect(found.exitCode == 3 && found.output.contains("  blocks bridge-down br0"), "\(found.output)")
            #expect(!found.output.contains("not-forwarding"), "\(found.output)")
            try lab.refused(
                "switch vm1 --to standby", code: 3, saying: "br0: the bridge is down", "(ip link set br0 up)")
            try lab.script("ip link set br0 up")
            #expect(try lab.forwards("vfrep0") && lab.forwards("tap0") && lab.forwards("uplink0"))
            #expect(try lab.fromNetwork() == ["vfrep0-far"])
            try lab.preflight("vm1")
        }
    }

    @Test func addresses() throws {
        try CommandLineLab.run { lab in
            let mac = PreflightPortTests.mac
            let entry = "\(mac) dev vfrep0 master"
            try lab.script("ip link set tap0 address \(mac)")
            try lab.preflight(finds: "blocks own-mac \(mac)")
            #expect(try lab.fromNetwork() == [])
            try lab.script("ip link set tap0 address fe:54:00:00:00:01")
            try lab.preflight()
            #expect(try lab.fromNetwork() == ["vfrep0-far", "tap0-far"])

            try lab.script("bridge fdb add \(entry) permanent")
            try lab.preflight(finds: "blocks local-entry \(mac)")
            #expect(try lab.fromNetwork() == [])
            try lab.script("bridge fdb del \(entry)\nbridge fdb add \(entry) static sticky")
            try lab.preflight(finds: "blocks sticky-entry \(mac)")
            try lab.refused("prepare vm1 \(CommandLineLab.arguments)", code: 3, saying: "sticky")
            try lab.script("bridge fdb del \(entry)")
            try lab.preflight(
                CommandLineLab.arguments.replacing(mac, with: "02:fd:b5:00:00:01"), finds: "blocks sentinel-mac")
            try lab.preflight(
                CommandLineLab.arguments.replacing(mac, with: mac + "/5"), finds: "blocks vlan-not-filtered")
            try lab.preflight(
                CommandLineLab.arguments.replacing(" --at primary", with: ""), also: "note unknown-side \(mac)")
            try lab.prepare()
            try lab.preflight(finds: "blocks other-guest \(mac)", also: "costs shared-port vfrep0")
        }
    }

    @Test func theSameMACOnAnotherBridge() throws {
        try CommandLineLab.run { lab in
            let mac = PreflightPortTests.mac
            try lab.script("ip link add br1 type bridge\nip link set br1 up")
            for port in ["x0", "y0"] {
                try lab.lab.addPort(port)
                try lab.script("ip link set \(port) master br1")
                #expect(try lab.forwards(port))
            }
            try lab.script("bridge fdb add \(mac) dev x0 master static")
            try lab.preflight(also: "note entry-on-other-bridge \(mac)")
            try lab.prepare()
            try lab.moved(to: "standby")
            let frame = FrameProbe(to: mac, from: lab.lab.peerMAC)
            #expect(try frame.send(from: "y0-far", lookingAt: "x0-far", "tap0-far") == ["x0-far"])
        }
    }

    @Test func aPortThatServesOthers() throws {
        try CommandLineLab.run { lab in
            try BridgeLab.sendFrame(behind: "tap0", source: "52:54:00:00:00:77")
            try lab.preflight(also: "costs shared-port tap0: 52:54:00:00:00:77 lives behind it")
            let json = try lab.fdbsteer("prepare vm1 \(CommandLineLab.arguments) --json")
            #expect(json.exitCode == 0 && json.output.contains("\"code\" : \"shared-port\""), "\(json.output)")
        }
    }

    @Test func queueingDisciplines() throws {
        try CommandLineLab.run { lab in
            let clsact = ["tc", "qdisc", "add", "dev", "tap0", "clsact"]
            try lab.script("tc qdisc add dev tap0 ingress")
            try lab.preflight(also: "costs ingress-qdisc tap0")
            #expect(try Command.run(clsact).exitCode != 0)
            try lab.script("tc qdisc del dev tap0 ingress")
            #expect(try Command.run(clsact).exitCode == 0)
            try lab.preflight(also: "note clsact-qdisc tap0")
        }
    }

    /// A kernel without the families of nftables that guards and questions need: the socket for them cannot be opened, or each
    /// batch is refused.
    @Test(arguments: ["socket:error=EPROTONOSUPPORT", "sendmsg:error=EOPNOTSUPP"])
    func nftablesThatCannot(refusal: String) throws {
        try CommandLineLab.run { lab in
            try lab.preflight()
            func traced(_ arguments: String, _ options: [String]) throws -> Command {
                try Command.run(
                    ["strace", "-f", "-v", "-o", lab.state + "/trace"] + options + [CommandLineLab.binary]
                        + arguments.split(separator: " ").map(String.init), environment: ["FDBSTEER_STATE": lab.state])
            }
            let call = String(refusal.prefix { $0 != ":" })
            // Which of the calls is the first for nftables.
            func first(_ arguments: String) throws -> Int {
                _ = try traced(arguments, ["-e", "trace=\(call)"])
                let calls = TextFile.read(lab.state + "/trace").split(separator: "\n").filter {
                    $0.contains(" \(call)(")
                }
                return try #require(calls.firstIndex { $0.contains("NETFILTER") || $0.contains("BATCH_BEGIN") }) + 1
            }
            let preflight = "preflight \(CommandLineLab.arguments)"
            let found = try traced(
                preflight, ["-e", "trace=\(call)", "-e", "inject=\(refusal):when=\(try first(preflight))+"])
            #expect(found.exitCode == 0, "costs nothing but a way: \(found.output)\(found.errors)")
            for code in ["no-guard", "no-asking"] {
                #expect(found.output.contains("costs \(code) br0"), "\(found.output)")
            }
            #expect(found.output.contains("modprobe nf_tables_bridge") && found.output.contains("five seconds"))
        }
    }

    // MARK: - What preflight does not do

    @Test(arguments: [false, true]) func itOnlyReads(prepared: Bool) throws {
        try CommandLineLab.run { lab in
            if prepared { try lab.prepare() }
            let state = prepared ? lab.state : lab.state + "/none"
            let before = try Command.run(["ls", "-lRn", "--time-style=full-iso", lab.state]).output
            let trace = "/tmp/fdbsteer-trace-\(getpid())-\(prepared)"
            defer { unlink(trace) }
            let arguments = prepared ? "vm1" : CommandLineLab.arguments
            let command = try Command.run(
                ["strace", "-f", "-v", "-s", "64", "-o", trace, CommandLineLab.binary, "preflight"]
                    + arguments.split(separator: " ").map(String.init), environment: ["FDBSTEER_STATE": state])
            #expect(command.exitCode == 0, "\(command.output)\(command.errors)")
            #expect(try Command.run(["ls", "-lRn", "--time-style=full-iso", lab.state]).output == before)
            let lines = TextFile.read(trace).split(separator: "\n")
            var sends = lines.filter { $0.contains(" sendmsg(") || $0.contains(" sendto(") }
            // A transaction of nftables that is never ended is undone (`nft --check`).
            let trials = sends.filter { $0.contains("nlmsg_type=NFNL_MSG_BATCH_BEGIN") }
            #expect(trials.count == 2 && !lines.contains { $0.contains("BATCH_END") })
            sends.removeAll { trials.contains($0) }
            #expect(sends.count >= 4)
            for line in sends {
                #expect(!line.contains("RTM_NEW") && !line.contains("RTM_SET") && !line.contains("RTM_DEL"), "\(line)")
                #expect(["RTM_GET", "nlctrl", "ethtool"].contains { line.contains("nlmsg_type=" + $0) }, "\(line)")
            }
            for line in lines where line.contains(" open") {
                #expect(["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].allSatisfy { !line.contains($0) }, "\(line)")
            }
            let writers = [
                "mkdir", "unlink", "rename", "creat", "truncate", "ftruncate", "pwrite64", "symlink", "link",
            ]
            for line in lines {
                for call in writers { #expect(!line.contains(" \(call)(") && !line.contains(" \(call)at("), "\(line)") }
                if line.contains(" write(") { #expect(line.contains(" write(1,"), "\(line)") }
            }
        }
    }

    @Test func itNeedsNoPrivilege() throws {
        let temporary = try TemporaryFolder()
        defer { temporary.remove() }
        let folder = temporary.path
        let binary = folder + "/fdbsteer"
        try Command.script("cp \(CommandLineLab.binary) \(binary)\nchmod 755 \(folder) \(binary)")
        try CommandLineLab.run { lab in
            try lab.prepare()
            try lab.script("bridge link set dev tap0 isolated on\nbridge link set dev vfrep0 flood off")
            func run(_ prefix: [String]) throws -> Command {
                try Command.run(
                    prefix + [binary, "preflight"] + CommandLineLab.arguments.split(separator: " ").map(String.init),
                    environment: ["FDBSTEER_STATE": lab.state])
            }
            let own = try run([])
            let user = try run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
            #expect(user.exitCode == 3, "\(user.output)\(user.errors)")
            for words in ["loses isolated tap0", "leaks unicast-flood tap0"] {
                #expect(own.output.contains(words))
                #expect(user.output.contains(words))
            }
            // The journal belongs to root: preflight reports that its information is missing.
            #expect(own.output.contains("blocks other-guest"))
            #expect(!user.output.contains("other-guest"))
            #expect(user.output.contains("not seen: which guests are prepared"), "\(user.output)")
            #expect(user.output.contains("not seen: what nftables can do"), "\(user.output)")
        }
    }
}
