import Glibc
import Lab
import System

/// Whether a guest's frames go to its standby later where what it misses is kept: from the line of QEMU's monitor that asks a guest of a
/// net_failover pair for its primary to the kernel's notification of its entry on the standby.
///
/// The guest is a namespace that answers questions by its primary. MIGRATION setup comes 2 ms earlier, as from QEMU. Each time the
/// migration is cancelled, and a frame of the guest brings it back. Daemons without and with `[replay]` take turns.
struct LeaveBench {
    private static let mac = "52:54:00:00:20:01"
    private static let ip = "192.0.2.7"
    private static let modes = ["off", "replay"]
    private static let rounds = 10
    /// A daemon slows down what its guest causes after twenty redirections (`Followed.limits`): a new one does only so many, of two each.
    private static let moves = 9
    private static let afterSetup: UInt32 = 2000

    private let setting: ThroughputSetting

    init(_ setting: ThroughputSetting) { self.setting = setting }

    func run() throws -> [ThroughputReport.Row] {
        let lab = try BridgeLab()
        let guest = try NetworkNamespace()
        for port in [lab.primary, lab.standby] {
            try Command.script("ip link set \(BridgeLab.far(port)) netns \(guest.path)")
        }
        // A packet socket of the guest's, for its frames by the primary.
        let mouth = try guest.run {
            let (primary, standby) = (BridgeLab.far(lab.primary), BridgeLab.far(lab.standby))
            try Command.script(
                """
                sysctl -q -w net.ipv4.conf.all.arp_ignore=1
                ip link set \(primary) address \(LeaveBench.mac) up
                ip link set \(standby) address \(LeaveBench.mac) up
                ip addr add \(LeaveBench.ip)/24 dev \(primary)
                """)
            return try Interface.open(primary, type: 0x88b5, receiveBuffer: 0)
        }
        defer { close(mouth) }
        let state = try TemporaryFolder(parent: setting.folder)
        defer { state.remove() }
        try Command.script(
            "env FDBSTEER_STATE=\(state.path) \(setting.binaries)/fdbsteer prepare g --bridge \(lab.bridge) --primary "
                + "\(lab.primary) --standby \(lab.standby) --uplink \(lab.uplink) --at primary --kind net_failover "
                + "--address \(LeaveBench.mac) --ip \(LeaveBench.ip)")
        var times: [String: [Double]] = [:]
        for _ in 0..<setting.scaled(LeaveBench.rounds) {
            for mode in LeaveBench.modes { times[mode, default: []] += try turn(mode, lab, state.path, mouth) }
        }
        return LeaveBench.modes.map { mode in
            ThroughputReport.Row(
                work: "leave", who: "fdbsteerd, replay \(mode)", entries: 1, events: times[mode] ?? [],
                floor: mode == "off" ? nil : Figure.quantile(0.5, of: times["off"] ?? []))
        }
    }

    /// The times of a new daemon, in nanoseconds; its first one is the warm-up.
    private func turn(_ mode: String, _ lab: BridgeLab, _ state: String, _ mouth: Int32) throws -> [Double] {
        let monitor = try FakeMonitor()
        let configuration = """
            [metrics]
            listen = "off"
            [log]
            level = "info"
            [replay]
            mode = "\(mode)"
            [[guest]]
            id = "g"
            qmp = "\(monitor.path)"
            follow = true
            primary_device = "primary0"

            """
        try TextFile.write(configuration, to: state + "/fdbsteerd.toml")
        let log = state + "/log-\(monotonicNanoseconds())"
        let daemon = try SupervisedProcess(
            [
                // Like the daemon's systemd unit.
                "chrt", "-R", "-r", "1", setting.binaries + "/fdbsteerd", "--config", state + "/fdbsteerd.toml",
                "--state", state,
            ], output: log)
        func waitFor(_ text: String, times: Int = 1) throws {
            for _ in 0..<10_000 {
                if TextFile.read(log).split(separator: "\n").count(where: { $0.contains(text) }) >= times { return }
                usleep(1000)
            }
            throw LabError("fdbsteerd did not log \"\(text)\" \(times) times")
        }
        let result = Result { () throws in
            try monitor.serve()
            try waitFor("msg=\"answers questions\" by=primary guest=g")
            let heard = try SignalBench.Notifications(lab, count: 1)
            // The daemon keeps working after its move; the receiver must not wait for that on the same processor.
            try SignalBench.schedule(SCHED_FIFO, priority: 2)
            defer { try? SignalBench.schedule(SCHED_OTHER, priority: 0) }
            return try (1...LeaveBench.moves).map { move in
                usleep(.random(in: 50_000..<100_000))
                monitor.tell("MIGRATION", #"{"status": "setup"}"#)
                usleep(LeaveBench.afterSetup)
                let time = try heard.time(until: heard.standby) {
                    monitor.tell("UNPLUG_PRIMARY", #"{"device-id": "primary0"}"#)
                }
                monitor.tell("MIGRATION", #"{"status": "wait-unplug"}"#)
                monitor.tell("MIGRATION", #"{"status": "cancelled"}"#)
                let frame =
                    [UInt8](repeating: 0xff, count: 6) + Interface.octets(LeaveBench.mac) + [0x88, 0xb6]
                    + [UInt8](repeating: 0, count: 46)
                try heard.repeatUntilMoved(to: heard.primary) { _ = send(mouth, frame, frame.count, 0) }
                try waitFor("from=coming guest=g to=primary", times: move)
                return Double(time)
            }
        }
        daemon.end()
        let said = TextFile.read(log)
        do {
            // Moves without replay, or held back, would be taken for others.
            let other = said.split(separator: "\n").first {
                $0.contains("frames are not kept") || $0.contains("slowed down")
            }
            if let other { throw LabError("\(other)") }
            return Array(try result.get().dropFirst())
        } catch {
            throw LabError("\(error)\n\(said.suffix(4000))")
        }
    }
}
