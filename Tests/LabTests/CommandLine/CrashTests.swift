import Glibc
import Lab
import Testing

/// A kill at every step of every verb, and the result of `reconcile`.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct CrashTests {
    /// The system calls of a verb at which it is killed: messages to the kernel, and what makes, writes, renames and removes files.
    static let calls = ["sendmsg", "openat,renameat,unlinkat,symlinkat,mkdirat", "pwrite64,write,ftruncate,fallocate"]

    struct Verb: Sendable, CustomStringConvertible {
        let name: String
        let before: String?
        let command: String
        /// The allowed sides of the guest afterwards; nil if it may also be unprepared.
        let sides: Set<String?>

        var description: String { name }
    }

    static let verbs = [
        Verb(
            name: "prepare", before: nil,
            command: "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 "
                + "--address \(CommandLineLab.mac) --address 52:54:00:00:00:02 --at primary", sides: [nil, "vfrep0"]),
        Verb(
            name: "to standby", before: "primary", command: "switch vm1 --to standby", sides: ["vfrep0", "tap0"]),
        Verb(name: "to primary", before: "standby", command: "switch vm1 --to primary", sides: ["vfrep0", "tap0"]),
        Verb(name: "to remote", before: "standby", command: "switch vm1 --to remote", sides: ["tap0", "uplink0"]),
        Verb(name: "release", before: "standby", command: "release vm1", sides: [nil, "tap0"]),
    ]

    @Test(arguments: verbs, calls)
    func killedAnywhere(_ verb: Verb, _ call: String) throws {
        try CommandLineLab.run(flooding: false) { lab in
            // The bridge has learned the guest at its place.
            try BridgeLab.sendFrame(behind: "vfrep0", source: CommandLineLab.mac)
            // A guest that nobody touches, which is read with the others.
            for port in ["own0", "own1"] { try lab.lab.addPort(port) }
            let other = try lab.fdbsteer(
                "prepare vm0 --bridge br0 --primary own0 --standby own1 --at primary --address 52:54:00:00:00:77")
            try #require(other.exitCode == 0, "\(other.errors)")
            let unprepared = try lab.table()
            var kills = 0
            let reader = try Reader(of: lab)
            defer { reader.stop() }
            for step in 1... {
                if let side = verb.before {
                    try lab.prepare("--address 52:54:00:00:00:02")
                    #expect(try lab.fdbsteer("switch vm1 --to \(side)").exitCode == 0)
                }
                let command = try Command.run(
                    [
                        "strace", "-f", "-o", "/dev/null", "-e", "trace=\(call)", "-e",
                        "inject=\(call):signal=KILL:when=\(step)",
                    ] + (call.hasPrefix("openat") ? ["-P", lab.state] : []) + [CommandLineLab.binary]
                        + verb.command.split(separator: " ").map(String.init),
                    environment: ["FDBSTEER_STATE": lab.state])
                let isOver = command.exitCode == 0
                if !isOver { kills += 1 }

                // Before any repair the address is on the guest's old or new port.
                let entry = try lab.lab.entry(CommandLineLab.mac)
                #expect(
                    verb.sides.compactMap { $0 }.contains { entry?.contains("dev \($0) ") == true },
                    "killed at \(call) \(step): \(entry ?? "no entry")")

                let reconciled = try lab.fdbsteer("reconcile")
                #expect(reconciled.exitCode == 0, "killed at \(call) \(step): \(reconciled.output)\(reconciled.errors)")
                try expectConsistent(lab, verb, "killed at \(call) \(step)")
                let table = try lab.table()
                let again = try lab.fdbsteer("reconcile")
                #expect(again.exitCode == 0, "\(again.output)")
                #expect(try lab.table() == table, "\(again.output)")
                #expect(
                    again.output.split(separator: "\n").allSatisfy { $0.contains("as intended") },
                    "reconcile twice: \(again.output)")

                // Restore the state before the verb, for the next step.
                if try lab.fdbsteer("status").output.contains("vm1") {
                    #expect(try lab.fdbsteer("release vm1").exitCode == 0)
                }
                try Command.script("bridge fdb replace \(CommandLineLab.mac) dev vfrep0 master dynamic")
                for port in ["vfrep0", "tap0", "uplink0"] {
                    _ = try Command.run(["bridge", "fdb", "del", "52:54:00:00:00:02", "dev", port, "master"])
                }
                let left = try lab.table()
                #expect(left == unprepared, "killed at \(call) \(step): was\n\(unprepared)\nand is\n\(left)")
                if isOver { break }
            }
            #expect(kills >= 2, "\(verb): only \(kills) calls of \(call)")
            reader.stop()
            #expect(
                reader.errors.isEmpty && reader.readings > kills / 4,
                "\(reader.readings): \(reader.errors.prefix(2000))")
        }
    }

    /// Reads all guests again and again, beside what is done to one of them.
    private final class Reader {
        private let go: String
        private let log: String
        private var running: RunningCommand?
        private(set) var readings = 0
        private(set) var errors = ""

        init(of lab: CommandLineLab) throws {
            go = lab.state + "/../reading-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
            log = go + ".log"
            try TextFile.write("", to: go)
            let binary = CommandLineLab.binary
            running = try RunningCommand(
                [
                    "sh", "-c",
                    """
                    while [ -e \(go) ]; do
                        sleep 0.01
                        if \(binary) status --json >\(log).out 2>&1 && grep -q own0 \(log).out; then echo
                        else cat \(log).out; echo failed; fi >>\(log)
                    done
                    """,
                ], environment: ["FDBSTEER_STATE": lab.state])
        }

        func stop() {
            guard let process = running.take() else { return }
            unlink(go)
            _ = process.wait()
            let lines = TextFile.read(log).split(separator: "\n", omittingEmptySubsequences: false).dropLast()
            readings = lines.count { $0.isEmpty }
            errors = lines.filter { !$0.isEmpty }.joined(separator: "\n")
            unlink(log)
            unlink(log + ".out")
        }
    }

    private func expectConsistent(_ lab: CommandLineLab, _ verb: Verb, _ situation: String) throws {
        let status = try lab.fdbsteer("status vm1 --json").output
        let entry = try lab.lab.entry(CommandLineLab.mac) ?? ""
        guard status.contains("\"phase\"") else {
            #expect(verb.sides.contains(nil), "\(situation): forgotten")
            #expect(!entry.contains("static"), "\(situation): \(entry)")
            return
        }
        #expect(try lab.fdbsteer("verify vm1").exitCode == 0, "\(situation)")
        #expect(status.contains("\"phase\" : \"pinned\""), "\(situation): \(status)")
        #expect(verb.sides.contains { $0.map { entry.contains("dev \($0) master br0 static") } ?? false }, "\(entry)")
    }

    /// A guest is locked before it has a record, and its record is read under its lock.
    @Test(arguments: ["reconcile", "abort vm1", "release vm1", "switch vm1 --to standby", "prepare"])
    func nobodyComesBetweenRecordAndLock(_ verb: String) throws {
        try CommandLineLab.run { lab in
            let arguments =
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --at primary --address \(CommandLineLab.mac)"
            let delayed = try RunningCommand(
                [
                    "strace", "-f", "-o", lab.state + "/trace", "-P", lab.state, "-e", "trace=renameat", "-e",
                    "inject=renameat:delay_exit=1000000", CommandLineLab.binary,
                ] + arguments.split(separator: " ").map(String.init), environment: ["FDBSTEER_STATE": lab.state])
            // The record is there, and its writer has not gone on.
            try lab.waitUntil { access(lab.state + "/guests/vm1.json", F_OK) == 0 }
            #expect(try lab.fdbsteer("status vm1 --json").output.contains("\"phase\" : \"preparing\""))
            let other = try lab.fdbsteer(verb == "prepare" ? arguments : verb)
            #expect(other.exitCode == (verb == "reconcile" ? 0 : 8), "\(other.output)\(other.errors)")
            let prepared = delayed.wait()
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            #expect(TextFile.read(lab.state + "/trace").contains("(DELAYED)"), "nothing was delayed")
            #expect(try lab.fdbsteer("verify vm1").exitCode == 0)
        }
    }

    /// Without 0, 1 and 2 a file of the journal would get their numbers, and what is printed would be written to it.
    @Test func closedDescriptorsHarmNothing() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            for verb in [
                "switch vm1 --to standby", "switch vm9 --to standby", "status", "switch vm1 --to primary --json",
            ] {
                _ = try Command.run(
                    ["sh", "-c", "exec \(CommandLineLab.binary) \(verb) 0<&- 1>&- 2>&-"],
                    environment: ["FDBSTEER_STATE": lab.state])
            }
            #expect(try lab.fdbsteer("verify vm1").output.contains("as intended, on primary"))
            let lock = TextFile.read(lab.state + "/locks/vm1")
            #expect(
                lock.hasSuffix(
                    "fdbsteer switch" + String(repeating: "\n", count: 128 - lock.count + lock.count { $0 == "\n" })),
                "\(lock)")
        }
    }

    /// The kernel exempts root from the quotas of a tmpfs, so the refusal is put in the place of the call's answer: of the reserve's
    /// space, and of the write of the intent, which is the second after that of the lock's holder.
    @Test(arguments: [("fallocate", 1), ("pwrite64", 2)])
    func aQuotaThatIsUsedUpRefusesBeforeAnythingIsMoved(_ call: String, _ step: Int) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let before = try lab.table()
            let command = try Command.run(
                [
                    "strace", "-f", "-o", "/dev/null", "-e", "trace=\(call)", "-e",
                    "inject=\(call):error=EDQUOT:when=\(step)", CommandLineLab.binary, "switch", "vm1", "--to",
                    "standby",
                ], environment: ["FDBSTEER_STATE": lab.state])
            #expect(command.exitCode == 3, "\(command.errors)")
            #expect(
                command.errors.contains("Disk quota exceeded") && command.errors.contains("raise its owner's quota"))
            #expect(try lab.table() == before)
            #expect(try lab.fdbsteer("verify vm1").exitCode == 0)
            #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
        }
    }

    @Test(arguments: ["full", "read-only"])
    func aStateFolderThatCannotBeWrittenIsRefusedBeforeAnythingIsChanged(_ condition: String) throws {
        try CommandLineLab.run { lab in
            let before = try lab.table()
            // A private mount namespace: the mount ends with the command.
            let make =
                condition == "full"
                ? "mount -t tmpfs -o size=16k,mode=750 none \(lab.state) && dd if=/dev/zero of=\(lab.state)/filling bs=1k 2>/dev/null"
                : "mount -t tmpfs -o ro,mode=750 none \(lab.state)"
            let prepare =
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --at primary --address \(CommandLineLab.mac)"
            let command = try Command.run([
                "unshare", "--mount", "sh", "-c",
                "\(make); exec \(CommandLineLab.binary) \(prepare) --state \(lab.state)",
            ])
            #expect(command.exitCode == 3, "\(command.output)\(command.errors)")
            #expect(command.errors.contains("cannot be written"), "\(command.errors)")
            #expect(command.errors.contains("nothing was changed"), "\(command.errors)")
            #expect(try lab.table() == before)
            // The daemon writes nothing before there is something to do.
            guard condition == "read-only" else { return }
            let daemon = try Command.run([
                "unshare", "--mount", "sh", "-c",
                "\(make); exec \(CommandLineLab.products)/fdbsteerd --state \(lab.state)",
            ])
            #expect(daemon.exitCode == 3 && daemon.errors.contains("cannot be written"), "\(daemon.errors)")
        }
    }

    @Test func aFolderThatFillsUpAfterPreparingRefusesTheSwitch() throws {
        try CommandLineLab.run { lab in
            let script = """
                set -e
                mount -t tmpfs -o size=256k,mode=750 none \(lab.state)
                F="\(CommandLineLab.binary)"
                export FDBSTEER_STATE=\(lab.state)
                $F prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --at primary --address \(CommandLineLab.mac)
                # What is about to be done has its page afterwards.
                for side in standby primary; do $F switch vm1 --to $side; done
                dd if=/dev/zero of=\(lab.state)/filling bs=1k 2>/dev/null || true
                code=0
                $F switch vm1 --to standby || code=$?
                echo "exit code $code"
                bridge fdb show br br0 | grep \(CommandLineLab.mac)
                """
            let command = try Command.run(["unshare", "--mount", "sh", "-c", script])
            // Either the journal has space in its own pages and the switch is complete, or nothing was changed.
            let isRefused =
                command.output.contains("exit code 3") && command.output.contains("dev vfrep0")
                && command.errors.contains("nothing was changed")
            let isDone = command.output.contains("exit code 0") && command.output.contains("dev tap0")
            #expect(isRefused || isDone, "\(command.output)\(command.errors)")
        }
    }
}
