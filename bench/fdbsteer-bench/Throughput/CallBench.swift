import Glibc
import Lab

/// A switch of a guest with eight addresses, from the call to the reply, by the daemon's local API and a small C client; beside processes
/// of `fdbsteer switch` and `bridge fdb replace`, and the floor, which only moves the entries.
struct CallBench {
    private static let addresses = 8
    /// Calls of a round.
    private static let calls = 1000

    private let setting: ThroughputSetting

    init(_ setting: ThroughputSetting) throws { self.setting = setting }

    func run() throws -> [ThroughputReport.Row] {
        let lab = try BridgeLab()
        let state = try TemporaryFolder(parent: setting.folder)
        defer { state.remove() }
        let binary = setting.binaries + "/fdbsteer"
        let macs = (0..<CallBench.addresses).map { EntryBench.mac(0x3000 + $0) }
        let other = EntryBench.mac(0x4000)
        try Command.script(
            "env FDBSTEER_STATE=\(state.path) \(binary) prepare g --bridge \(lab.bridge) --primary \(lab.primary) "
                + "--standby \(lab.standby) --at primary " + macs.map { "--address \($0)" }.joined(separator: " "))
        let daemon = try RunningCommand([
            // Like the daemon's systemd unit.
            "nice", "-n", "-20", "setpriv", "--pdeathsig", "KILL", setting.binaries + "/fdbsteerd", "--state",
            state.path,
        ])
        let process = daemon.process
        let result = Result { () throws in try measure(lab, state: state.path, other) }
        kill(process, SIGTERM)
        let ended = daemon.wait()
        do { return try result.get() } catch { throw LabError("\(error)\n\(ended.errors.suffix(2000))") }
    }

    private func measure(_ lab: BridgeLab, state: String, _ other: String) throws -> [ThroughputReport.Row] {
        let environment = ["FDBSTEER_STATE": state]
        let binary = setting.binaries + "/fdbsteer"
        let socket = state + "/io.fdbsteer"
        for _ in 0..<1000 where access(socket, F_OK) != 0 { usleep(10_000) }
        let floor = try PeerProcess(
            "C on libmnl", [setting.peers + "/fdb_floor", lab.primary, lab.standby, lab.bridge])
        _ = try floor.run("add", CallBench.addresses)
        var times: [String: [Double]] = [:]
        let rounds = max(1, setting.signals / CallBench.calls)
        // The first round is the warm-up.
        for round in 0...rounds {
            let client = try Command.run([setting.peers + "/varlink_switch", socket, "g", "\(CallBench.calls)"])
            guard client.exitCode == 0 else { throw LabError("varlink_switch: \(client.errors)") }
            var done: [(String, Double)] = client.output.split(separator: "\n").compactMap { line in
                Double(line).map { ("a call to fdbsteerd", $0) }
            }
            for turn in 0..<20 {
                let (side, port) = turn % 2 == 0 ? ("standby", lab.standby) : ("primary", lab.primary)
                done.append(
                    (
                        "fdbsteer switch",
                        try TimedCommand.run([binary, "switch", "g", "--to", side], environment: environment)
                    ))
                done.append(
                    (
                        "bridge fdb replace, one address",
                        try TimedCommand.run(["bridge", "fdb", "replace", other, "dev", port, "master", "static"])
                    ))
                let moved = try floor.run("move", CallBench.addresses, port: turn % 2 == 0 ? 1 : 0)
                done.append(("C on libmnl, the move alone", moved.nanoseconds))
            }
            if round > 0 { for (who, nanoseconds) in done { times[who, default: []].append(nanoseconds) } }
        }
        _ = try floor.run("delete", CallBench.addresses)
        let least = times["C on libmnl, the move alone"]?.sorted() ?? []
        return times.keys.sorted().map { who in
            ThroughputReport.Row(
                work: "call", who: who, entries: CallBench.addresses, events: times[who] ?? [],
                floor: least.isEmpty ? nil : least[least.count / 2])
        }
    }
}
