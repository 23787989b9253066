import Glibc
import Lab
import Testing

/// Each wrong call has its own message and exit code, and changes nothing.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct BadInputTests {
    private static let good = "--bridge br0 --primary vfrep0 --standby tap0 --at primary"

    @Test(
        arguments: [
            ("--bridge nobr --primary vfrep0 --standby tap0 --address 52:54:00:00:00:01", 3, "nobr: it is no Linux"),
            ("--bridge tap0 --primary vfrep0 --standby uplink0 --address 52:54:00:00:00:01", 3, "Linux bridge: it is"),
            ("--bridge br0 --primary novf --standby tap0 --address 52:54:00:00:00:01", 3, "novf: primary: there is no"),
            (
                "--bridge br0 --primary vfrep0 --standby notap --address 52:54:00:00:00:01", 3,
                "notap: standby: there is no"
            ),
            ("--bridge br0 --primary vfrep0 --standby tap0-far --address 52:54:00:00:00:01", 3, "it is no port of br0"),
            ("--bridge br0 --primary vfrep0 --standby other0 --address 52:54:00:00:00:01", 3, "it belongs to br1"),
            ("--bridge br0 --primary vfrep0 --standby vfrep0 --address 52:54:00:00:00:01", 64, "the same port"),
            (
                "--bridge br0 --primary vfrep0 --standby tap0 --uplink tap0 --address 52:54:00:00:00:01", 64,
                "standby and uplink are the same port, tap0"
            ),
            ("--bridge br0 --primary vfrep0 --standby br0 --address 52:54:00:00:00:01", 64, "the bridge br0 itself"),
            ("\(good) --address 52:54:00:00:00", 64, "is not a MAC address"),
            ("\(good) --address 01:00:5e:00:00:01", 64, "multicast"),
            ("\(good) --address ff:ff:ff:ff:ff:ff", 64, "broadcast"),
            ("\(good) --address 00:00:00:00:00:00", 64, "all-zero"),
            ("\(good) --address 52:54:00:00:00:01/0", 64, "VLAN"),
            (
                "\(good) --address 52:54:00:00:00:01 --ip 127.0.0.1", 64,
                "no IP address that an interface has for others"
            ),
            ("\(good) --address 52:54:00:00:00:01 --ip 192.0.2.7,::1", 64, "no IP address that an interface has"),
            ("\(good) --address 52:54:00:00:00:01 --ip 224.0.0.1", 64, "no IP address that an interface has"),
            ("\(good) --address 52:54:00:00:00:01 --ip 0.0.0.0", 64, "no IP address that an interface has"),
            ("\(good) --address 52:54:00:00:00:01 --ip 255.255.255.255", 64, "no IP address that an interface has"),
            ("\(good) --address 52:54:00:00:00:01 --address 52:54:00:00:00:01", 64, "given twice"),
            ("\(good) --address 52:54:00:00:00:01/5", 3, "br0 filters none"),
            ("\(good) --address 52:54:00:00:00:aa", 3, "belongs to guest vm9"),
            ("\(good) --address 52:54:00:00:00:bb", 3, "sticky entry on uplink0"),
            ("\(good) --address 52:54:00:00:00:cc", 3, "local (permanent) entry"),
            ("\(good) --address 52:54:00:00:00:dd", 3, "own MAC of tap0"),
            ("--bridge br0 --primary vfrep0 --standby tap0 --address 52:54:00:00:00:01", 3, "--at"),
            ("--bridge br0 --primary vfrep0 --standby tap0 --at remote --address 52:54:00:00:00:01", 64, "--uplink"),
            ("--bridge br0 --primary vfrep0 --standby tap0 --address 52:54:00:00:00:ee", 3, "none of the ports given"),
        ] as [(String, Int32, String)])
    func prepare(arguments: String, code: Int32, words: String) throws {
        try CommandLineLab.run { lab in
            try Command.script(
                """
                ip link add br1 type bridge
                ip link add other0 type veth peer name other0-far
                ip link set other0 master br1
                ip link set tap0 address 52:54:00:00:00:dd
                bridge fdb add 52:54:00:00:00:bb dev uplink0 master static sticky
                bridge fdb add 52:54:00:00:00:cc dev uplink0 master permanent
                bridge fdb add 52:54:00:00:00:ee dev uplink0 master dynamic
                """)
            let owner = try lab.fdbsteer(
                "prepare vm9 --bridge br0 --primary vfrep0 --standby tap0 --at primary --address 52:54:00:00:00:aa")
            #expect(owner.exitCode == 0, "\(owner.errors)")
            try lab.refused("prepare vm1 " + arguments, code: code, saying: words)
            #expect(try !lab.fdbsteer("status").output.contains("vm1"))
        }
    }

    @Test func unknownGuestsAndWords() throws {
        try CommandLineLab.run { lab in
            for verb in ["switch vm1 --to standby", "verify vm1", "release vm1", "abort vm1", "status vm1"] {
                try lab.refused(verb, code: 3, saying: "guest vm1 is not known")
            }
            #expect(access(lab.state + "/guests", F_OK) != 0, "a refused verb wrote a journal")
            try lab.prepare()
            for verb in [
                "switch vm2 --to standby", "verify vm2", "release vm2", "abort vm2", "status vm2", "history vm2",
            ] {
                try lab.refused(verb, code: 3, saying: "guest vm2 is not known")
            }
            let limits = ["observe 4294967295min", "proof-timeout 9000h", "timeout 1d", "observe 9223372036854775807s"]
            for wrong in [
                "switch vm1 --to nowhere", "switch vm1", "switch", "nonsense", "switch vm1 --to standby --x",
            ] + limits.map({ "switch vm1 --to standby --" + $0 }) {
                #expect(try lab.fdbsteer(wrong).exitCode == 64)
                let json = try lab.fdbsteer(wrong + " --json")
                #expect(json.exitCode == 64 && json.output.contains("\"code\" : \"usage\""), "\(wrong): \(json.output)")
            }
            try lab.refused("switch vm1 --to standby --timeout 5", code: 64, saying: "500ms, 5s, 2min")
            // What would be passed over in silence is wrong.
            let wait = "switch vm1 --to standby"
            try lab.refused("\(wait) --timeout 5s", code: 64, saying: "name a signal by --until")
            try lab.refused(
                "\(wait) --strategy bracket --on-timeout abort", code: 64, saying: "name a signal by --until")
            try lab.refused("\(wait) --until word --on-timeout abort", code: 64, saying: "needs the strategy bracket")
            try lab.refused(
                "\(wait) --close --until frame:standby", code: 64, saying: "--close closes the bracket at once")
            try lab.refused("announce vm1 --count 0", code: 64, saying: "--count is at least 1")
            try lab.refused("status v/m", code: 64, saying: "guest name")
            try lab.refused(
                "prepare vm1 --bridge br0 --primary tap0 --standby vfrep0 --address 52:54:00:00:00:01 --at primary",
                code: 3, saying: "prepared already, but not like this")
        }
    }

    @Test func thingsThatWentAwayMeanwhile() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try Command.script("ip link set tap0 down")
            try lab.refused("switch vm1 --to standby", code: 3, saying: "tap0: it is down", "go to vfrep0 (primary)")
            try Command.script("ip link set tap0 up\nip link set tap0 nomaster")
            try lab.refused("switch vm1 --to standby", code: 3, saying: "taken out of br0", "go to vfrep0 (primary)")
            try Command.script("ip link del tap0")
            try lab.refused("switch vm1 --to standby", code: 3, saying: "no longer exists", "go to vfrep0 (primary)")
            // A new port with the same name is a different port.
            try lab.lab.addPort("tap0")
            try lab.refused("switch vm1 --to standby", code: 3, saying: "no longer exists")
            try Command.script("ip link del vfrep0")
            try lab.refused("switch vm1 --to primary", code: 3, saying: "no longer exists", "have no entry", "flooded")
            try Command.script("ip link del br0")
            let gone = try lab.fdbsteer("switch vm1 --to standby")
            #expect(gone.exitCode == 3)
            #expect(gone.errors.contains("br0: the bridge of guest vm1 no longer exists"))
            #expect(try lab.fdbsteer("verify vm1").exitCode == 3)
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
        }
    }

    @Test func aJournalThatCannotBeWritten() throws {
        try CommandLineLab.run { lab in
            let before = try lab.table()
            let arguments = "prepare vm1 \(BadInputTests.good) --address 52:54:00:00:00:01 --state "
            for (path, words) in [
                ("/proc/nothing", "No such file"), ("/dev/null", "Not a directory"), ("/nowhere/deep", "No such"),
            ] {
                let command = try lab.fdbsteer(arguments + path)
                #expect(command.exitCode == 3, "\(command.errors)")
                #expect(command.errors.contains(words) && command.errors.contains(path), "\(command.errors)")
            }
            try Command.script("cp /bin/true \(lab.state)/state.db")
            let garbage = try lab.fdbsteer(arguments + lab.state)
            #expect(garbage.exitCode == 3, "\(garbage.errors)")
            #expect(garbage.errors.contains("state.db"))
            #expect(try lab.table() == before)
        }
    }

    @Test func aFullDiskRefusesBeforeAnythingChanges() throws {
        try CommandLineLab.run { lab in
            let before = try lab.table()
            // A tmpfs without space, in the command's own mount namespace.
            let script =
                "mount -t tmpfs -o size=4k,mode=750 tmpfs \(lab.state) && head -c 4096 /dev/zero >\(lab.state)/filler && "
                + "\(CommandLineLab.binary) prepare vm1 \(BadInputTests.good) --address 52:54:00:00:00:01"
            let command = try Command.run(
                ["unshare", "-m", "sh", "-c", script], environment: ["FDBSTEER_STATE": lab.state])
            #expect(command.exitCode == 3, "\(command.output)\(command.errors)")
            #expect(command.errors.contains("cannot be written"))
            #expect(try lab.table() == before)
        }
    }
}
