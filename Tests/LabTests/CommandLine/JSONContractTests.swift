import Glibc
import Lab
import System
import TestSupport
import Testing

/// docs/json.md and what the verbs print: neither has what the other lacks.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct JSONContractTests {
    /// A lab whose answers are compared with the document.
    private final class Reader {
        let lab: CommandLineLab
        var document = JSONDocument()

        init(_ lab: CommandLineLab) { self.lab = lab }

        /// Calls a verb and compares its answer.
        func call(_ verb: String, _ code: Int32 = 0, is object: String, through words: [String] = []) throws {
            let command = try Command.run(
                words + [CommandLineLab.binary] + verb.split(separator: " ").map(String.init) + ["--json"],
                environment: ["FDBSTEER_STATE": lab.state])
            #expect(command.exitCode == code, "\(verb): \(command.output)\(command.errors)")
            check(verb, document.differences(of: command.output, from: object))
        }

        func several(_ verb: String, _ code: Int32 = 0, are object: String) throws {
            let command = try lab.fdbsteer(verb + " -j")
            #expect(command.exitCode == code, "\(verb): \(command.output)\(command.errors)")
            check(verb, document.differences(ofGuests: command.output, from: object))
        }

        /// Compares each line of a file that a verb has written.
        func lines(of file: String, are object: String) {
            let lines = TextFile.read(file).split(separator: "\n")
            #expect(!lines.isEmpty)
            for line in lines { check(object, document.differences(of: line, from: object)) }
        }

        private func check(_ verb: String, _ differences: [String]) {
            for difference in differences { Issue.record("\(verb): \(difference)") }
        }
    }

    /// What this lab cannot bring about, each with the reason.
    private static let elsewhere: Set = [
        // No kernel explains a refusal that a verb of this lab can meet.
        "error.extack",
        // A followed guest that migrates.
        "event.part", "event.kept", "event.sent", "event.dropped", "event.after_ns",
        // An address of which nothing can be changed, while others can.
        "changed.error",
        // A switch's ports, in the lab VM.
        "bridge_port.driver", "bridge_port.phys_switch_id", "bridge_port.phys_port_name", "bridge_port.devlink_port",
        "bridge_port.function_address", "bridge_port.hardware_miss",
    ]

    private static let ports = "--bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0"
    private static let mac = CommandLineLab.mac

    @Test func eachVerbPrintsWhatTheDocumentSaysAndTheDocumentSaysNothingElse() throws {
        try CommandLineLab.run { lab in
            let reader = Reader(lab)
            let (events, moves) = (lab.state + "/events.json", lab.state + "/moves.json")
            // Kernels without VLANs on bridges know no second entry of a MAC.
            let hasVLANs = (try? Command.script("ip link set br0 type bridge vlan_filtering 1")) != nil
            let monitor = try follow("monitor", into: events, lab)
            let watch = try follow("watch br0", into: moves, lab)
            try JSONContractTests.changes(reader)
            try JSONContractTests.looks(reader)
            try JSONContractTests.besideADaemon(reader)
            try JSONContractTests.moves(hasVLANs)
            try reader.call("abort vm1", is: "report")
            try reader.several("release vm1 pod", are: "report")
            try reader.call("release pod --if-exists", is: "report")
            kill(monitor.process, SIGINT)
            kill(watch.process, SIGINT)
            #expect(monitor.wait().exitCode == 0)
            #expect(watch.wait().exitCode == 0)
            reader.lines(of: events, are: "event")
            reader.lines(of: moves, are: "watched")
            let second: Set = hasVLANs ? [] : ["watched.other_address", "watched.other_port"]
            #expect(reader.document.unseen(but: JSONContractTests.elsewhere.union(second)) == [])
        }
    }

    /// A verb that goes on, once it listens.
    private func follow(_ verb: String, into file: String, _ lab: CommandLineLab) throws -> RunningCommand {
        let running = try RunningCommand([
            "sh", "-c", "exec \(CommandLineLab.binary) \(verb) --json --state \(lab.state) >\(file)",
        ])
        for _ in 0..<1000 where !TextFile.read("/proc/\(running.process)/wchan").contains("poll") { usleep(10_000) }
        return running
    }

    private static func changes(_ reader: Reader) throws {
        let lab = reader.lab
        try reader.call("preflight \(ports) --address \(mac)", is: "preflight")
        let prepare = "prepare vm1 \(ports) --address \(mac) --at primary --kind net_failover"
        try reader.call(prepare + " --dry-run", is: "report")
        try reader.call(prepare, is: "report")
        try reader.call("switch vm1 --to standby --dry-run", is: "report")
        try reader.call("switch vm1 --to standby", is: "report")
        try reader.call("switch vm1 --to primary --until carrier:vfrep0=up --observe 1ms", is: "report")
        try reader.call("switch vm1 --to standby --until word --timeout 10ms", 6, is: "failure")
        try reader.call("switch vm1 --to standby --strategy bracket", is: "report")
        try reader.call("status vm1", is: "statuses")
        try reader.call("verify vm1", is: "verification")
        try reader.call("topology", is: "topology")
        try reader.call("switch vm1 --to standby --close", is: "report")
        try lab.lab.addPort("pod0")
        let pod = "--bridge br0 --port pod0 --uplink uplink0 --address 52:54:00:00:00:02"
        try reader.call("prepare pod \(pod) --at local --gate", is: "report")
        try reader.several("switch vm1 nobody --to primary", 3, are: "report")
        try reader.several("switch --all --to standby", are: "report")
        try reader.call("announce vm1 --count 1", is: "announcement")
        // What this process may not do.
        let unprivileged = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        try reader.call("switch vm1 --to primary", 3, is: "failure", through: unprivileged)
        try reader.call("switch vm9 --to standby", 3, is: "failure")
        try reader.call("statsu", 64, is: "failure")
    }

    private static func looks(_ reader: Reader) throws {
        try reader.call("verify vm1", is: "verification")
        try reader.several("verify", are: "verification")
        try Command.script("ip link set \(BridgeLab.far("vfrep0")) down\nbridge fdb del \(mac) dev tap0 master")
        try reader.call("preflight vm1", 3, is: "preflight")
        try reader.call("verify vm1", 3, is: "verification")
        try Command.script("ip link set \(BridgeLab.far("vfrep0")) up")
        try reader.call("reconcile", is: "reconciliation")
        try reader.call("history", is: "history")
        try reader.call("history --report --number 2", is: "redirection")
        try reader.call("metrics", is: "metrics")
        try reader.call("probe list", is: "verdicts")
        // The name that ip(8) has for the namespace, in mounts of our own.
        try reader.call(
            "status vm1", is: "statuses",
            through: [
                "unshare", "-m", "sh", "-c", "mount -t tmpfs none /run; ip netns attach lab $$; exec \"$@\"", "sh",
            ])
        try reader.call("status vm1 nobody", 3, is: "statuses")
        // Another process, which this one plays, holds the guest.
        let file = open(reader.lab.state + "/locks/vm1", O_RDWR | O_CLOEXEC)
        defer { close(file) }
        var patience: Int64 = 0
        #expect(SystemFile.lock(file, patience: &patience))
        try reader.call("status vm1", is: "statuses")
    }

    private static func besideADaemon(_ reader: Reader) throws {
        let lab = reader.lab
        // A guest that the configuration names, with an address of another.
        let absent = """
            [[guest]]
            id = "vm5"
            bridge = "br0"
            port = "pod0"
            address = ["\(mac)"]
            at = "local"
            """
        try DaemonLab.run(in: lab, configuration: absent) { daemon in
            try Command.script("ip link set \(BridgeLab.far("tap0")) down")
            try daemon.waitFor("msg=condition code=not-prepared guest=vm5")
            try daemon.waitFor("msg=condition code=no-carrier guest=vm1")
            let waiting = try RunningCommand(
                [CommandLineLab.binary, "switch", "vm1", "--to", "primary", "--until", "word", "--timeout", "60s"],
                environment: ["FDBSTEER_STATE": lab.state])
            for _ in 0..<1000 where access(lab.state + "/waits/vm1.json", F_OK) != 0 { usleep(10_000) }
            try reader.call("status", is: "statuses")
            kill(waiting.process, SIGTERM)
            _ = waiting.wait()
            try Command.script("ip link set \(BridgeLab.far("tap0")) up")
        }
    }

    /// A MAC that speaks by a port before it is there, and one that appears on a second port.
    private static func moves(_ hasVLANs: Bool) throws {
        let mac = "52:54:00:00:00:77"
        for port in ["uplink0", "tap0", "uplink0", "tap0"] {
            try Command.script("bridge fdb replace \(mac) dev \(port) master dynamic")
            usleep(20_000)
        }
        guard hasVLANs else { return }
        try Command.script("bridge vlan add dev uplink0 vid 5\nbridge fdb add \(mac) dev uplink0 master dynamic vlan 5")
    }
}
