import Glibc
import Lab
import Testing

extension LabVMTests {
    /// Kills in the middle, and the daemon's watch, on ports with hardware.
    @Suite(.serialized)
    struct ModelCrashTests {
        /// A kill before each message to the kernel, for each move between the sides.
        @Test(arguments: [("primary", "standby"), ("standby", "primary"), ("standby", "remote"), ("remote", "primary")])
        func killedAtEachMessage(_ from: String, _ to: String) throws {
            try ModelLab.run { lab in
                let places = ["primary": ["mes_vf0"], "standby": [], "remote": ["mes_p0"]]
                func rules(_ side: String) -> [String] { (places[side] ?? []).map { "\(ModelLab.mac)/0@\($0)" } }
                var kills = 0
                for step in 1... {
                    try lab.prepare()
                    if from != "primary" { try lab.expect(0, "switch vm1 --to \(from) --require-proof") }
                    let folder = getenv("FDBSTEER_BIN").map { String(cString: $0) } ?? "."
                    let command = try Command.run(
                        [
                            "strace", "-f", "-o", "/dev/null", "-e", "trace=sendmsg", "-e",
                            "inject=sendmsg:signal=KILL:when=\(step)", "\(folder)/fdbsteer", "switch", "vm1", "--to",
                            to,
                        ], environment: ["FDBSTEER_STATE": lab.state])
                    let isOver = command.exitCode == 0
                    if !isOver { kills += 1 }
                    try lab.expect(0, "reconcile")
                    // Hardware and software agree on the old or the new side.
                    let verified = try lab.expect(0, "verify vm1").output
                    let side = verified.contains("on \(to)") ? to : from
                    #expect(verified.contains("on \(side)"), "killed at \(step): \(verified)")
                    #expect(try lab.hardware() == rules(side), "killed at \(step): \(verified)")
                    #expect(try lab.entries("02:fd:b5").isEmpty, "killed at \(step): a sentinel was left")
                    try lab.expect(0, "reconcile", saying: "as intended on \(side)")
                    try lab.expect(0, "release vm1")
                    if isOver { break }
                }
                #expect(kills >= 6, "only \(kills) messages")
            }
        }

        /// A kill before each message while a bracket is opened, and while it is closed on the side that the guest moved to.
        @Test(arguments: ["switch vm1 --to standby --strategy bracket", "switch vm1 --to standby --close"])
        func killedInABracket(_ verb: String) throws {
            try ModelLab.run { lab in
                let folder = getenv("FDBSTEER_BIN").map { String(cString: $0) } ?? "."
                var kills = 0
                for step in 1... {
                    try lab.prepare("--address \(ModelLab.mac)", "--kind net_failover")
                    if verb.contains("--close") {
                        try lab.expect(0, "switch vm1 --to standby --strategy bracket")
                    }
                    let command = try Command.run(
                        [
                            "strace", "-f", "-o", "/dev/null", "-e", "trace=sendmsg", "-e",
                            "inject=sendmsg:signal=KILL:when=\(step)", "\(folder)/fdbsteer",
                        ] + verb.split(separator: " ").map(String.init), environment: ["FDBSTEER_STATE": lab.state])
                    let isOver = command.exitCode == 0
                    if !isOver { kills += 1 }
                    // An open bracket stays open; only abort closes it.
                    try lab.expect(0, "reconcile")
                    try lab.expect(0, "abort vm1")
                    let verified = try lab.expect(0, "verify vm1").output
                    let isOnPrimary = verified.contains("on primary")
                    #expect(isOnPrimary || (verb.contains("--close") && verified.contains("on standby")), "\(verified)")
                    #expect(
                        try lab.hardware() == (isOnPrimary ? ["\(ModelLab.mac)/0@mes_vf0"] : []),
                        "killed at \(step): \(verified)")
                    #expect(try lab.entries("02:fd:b5").isEmpty, "killed at \(step): a sentinel was left")
                    #expect(try !Command.run(["nft", "list", "tables", "netdev"]).output.contains("fdbsteer"))
                    #expect(try !Command.run(["tc", "qdisc", "show", "dev", "tap0"]).output.contains("clsact"))
                    try lab.expect(0, "reconcile", saying: "as intended")
                    try lab.expect(0, "release vm1")
                    if isOver { break }
                }
                #expect(kills >= 6, "only \(kills) messages")
            }
        }

        @Test func theDaemonRepairsWhatHardwareHasToo() throws {
            try ModelLab.run { lab in
                try lab.prepare()
                let folder = getenv("FDBSTEER_BIN").map { String(cString: $0) } ?? "."
                let daemon = try RunningCommand(
                    ["\(folder)/fdbsteerd", "--state", lab.state], environment: ["FDBSTEER_STATE": lab.state])
                let process = daemon.process
                var ended = false
                defer { if !ended { kill(process, SIGKILL) } }
                try lab.wait("the daemon") {
                    try Command.run(["ss", "-ltn"]).output.contains(":9923")
                }
                // An in-place move leaves the rule in hardware; a move by NTF_USE and a deletion remove it.
                for attack in [
                    "bridge fdb replace \(ModelLab.mac) dev tap0 master static",
                    "bridge fdb replace \(ModelLab.mac) dev tap0 master use static",
                    "bridge fdb del \(ModelLab.mac) dev mes_vf0 master",
                ] {
                    try Command.script(attack)
                    try lab.wait("the repair after \(attack)") {
                        try lab.entries().first?.contains("dev mes_vf0 offload master br0 static") == true
                            || lab.entries().first.map { $0.contains("mes_vf0") && $0.contains("offload") } == true
                    }
                    #expect(try lab.hardware() == ["\(ModelLab.mac)/0@mes_vf0"], "\(attack)")
                    try lab.wait("the verdict after \(attack)") { try lab.fdbsteer("verify vm1").exitCode == 0 }
                }
                kill(process, SIGTERM)
                ended = true
                #expect(daemon.wait().exitCode == 0)
            }
        }
    }
}
