import FDB
import Glibc
import Lab

/// The daemon's latency: from the line of QEMU's monitor to the kernel's notification of the last moved entry, for a guest
/// with eight addresses, quiet and with every processor busy.
///
/// A reset of the guest moves it from its primary to its standby; that is timed. Then the standby is negotiated anew and a
/// frame of the guest comes by its primary, which takes it back.
struct SignalBench {
    private static let addresses = 8
    private static let connectLimit: Int32 = 10_000
    private static let moveLimit: Int64 = 5_000_000_000
    private static let reset = #"{"event": "RESET", "data": {"guest": true, "reason": "guest-reset"}, "#
    private static let negotiated = #"{"event": "FAILOVER_NEGOTIATED", "data": {"device-id": "net0"}, "#
    private static let stamp = #""timestamp": {"seconds": 1, "microseconds": 0}}"# + "\r\n"

    private let setting: ThroughputSetting

    init(_ setting: ThroughputSetting) throws { self.setting = setting }

    func run() throws -> [ThroughputReport.Row] {
        let lab = try BridgeLab()
        let state = try Scratch(parent: setting.folder)
        defer { state.remove() }
        let files = try Scratch(parent: setting.folder)
        defer { files.remove() }
        let macs = (0..<SignalBench.addresses).map { EntryBench.mac(0x2000 + $0) }
        try Command.script(
            "env FDBSTEER_STATE=\(state.path) \(setting.binaries)/fdbsteer prepare g --bridge \(lab.bridge) --primary "
                + "\(lab.primary) --standby \(lab.standby) --uplink \(lab.uplink) --at primary --kind netvsc "
                + macs.map { "--address \($0)" }.joined(separator: " "))
        let monitor = try FakeMonitor()
        let configuration = """
            [metrics]
            listen = "off"
            [[guest]]
            id = "g"
            kind = "netvsc"
            qmp = "\(monitor.path)"
            follow = true
            standby_device = "net0"

            """
        try Scratch.write(Array(configuration.utf8), to: files.path + "/fdbsteerd.toml")
        let daemon = try RunningCommand([
            "setpriv", "--pdeathsig", "KILL", setting.binaries + "/fdbsteerd", "--config",
            files.path + "/fdbsteerd.toml", "--state", state.path,
        ])
        let process = daemon.process
        let result = Result { () throws -> [ThroughputReport.Row] in
            guard monitor.hasClient(within: SignalBench.connectLimit) else {
                print("part signal is left out: fdbsteerd did not connect to the guest's monitor")
                return []
            }
            try monitor.serve()
            var course = try Course(lab: lab, monitor: monitor, macs: macs)
            var rows: [ThroughputReport.Row] = []
            for (name, isLoaded) in [("signal, quiet", false), ("signal, all processors busy", true)] {
                let load = isLoaded ? try SignalBench.startLoad() : []
                defer { load.forEach { $0.end() } }
                // The first are the warm-up: code and journal are not in the caches.
                _ = try course.times(min(50, setting.signals))
                rows.append(
                    ThroughputReport.Row(
                        work: name, who: "fdbsteerd", entries: SignalBench.addresses,
                        events: try course.times(setting.signals), floor: nil))
            }
            return rows
        }
        kill(process, SIGTERM)
        monitor.hangUp()
        let ended = daemon.wait()
        do {
            return try result.get()
        } catch {
            throw LabError("\(error)\n\(ended.errors.suffix(2000))")
        }
    }

    /// Keeps every processor busy until the processes are gone.
    private static func startLoad() throws -> [SupervisedProcess] {
        try (0..<sysconf(Int32(_SC_NPROCESSORS_ONLN))).map { _ in
            try SupervisedProcess(["sh", "-c", "while :; do :; done"], output: "/dev/null")
        }
    }

    /// The guest's way there and back, watched from outside of the daemon.
    private struct Course: ~Copyable {
        private let lab: BridgeLab
        private let monitor: FakeMonitor
        private let macs: [String]
        private let heard: FDBMonitor
        private let ports: (primary: Int32, standby: Int32)

        init(lab: BridgeLab, monitor: FakeMonitor, macs: [String]) throws {
            guard let primary = try Interface.index(of: lab.primary), let standby = try Interface.index(of: lab.standby)
            else { throw LabError("the lab has no ports") }
            let heard = try FDBMonitor()
            self.lab = lab
            self.monitor = monitor
            self.macs = macs
            ports = (primary, standby)
            self.heard = heard
            // The follower asks how things stand before it acts.
            usleep(200_000)
        }

        /// Nanoseconds of so many moves to the standby, at random moments.
        ///
        /// The waiting sleeps: on a few processors the daemon would have to wait for one that spins.
        mutating func times(_ count: Int) throws -> [Double] {
            var times: [Double] = []
            for _ in 0..<count {
                usleep(.random(in: 5_000..<10_000))
                _ = try heard.drain { _ in }
                let begin = BenchClock.now()
                monitor.say(SignalBench.reset + SignalBench.stamp)
                let end = try wait(for: ports.standby, since: begin)
                times.append(Double(end - begin))
                monitor.say(SignalBench.negotiated + SignalBench.stamp)
                // Until the follower listens for frames: a frame before that would not count.
                try returnHome()
            }
            return times
        }

        private mutating func returnHome() throws {
            let begin = BenchClock.now()
            while BenchClock.now() - begin < SignalBench.moveLimit {
                try BridgeLab.sendFrame(behind: lab.primary, source: macs[0])
                if (try? wait(for: ports.primary, since: BenchClock.now(), limit: 20_000_000)) != nil { return }
            }
            throw LabError("the guest's frame did not bring it back to its primary")
        }

        /// When the last of the guest's entries was told to be on a port.
        private mutating func wait(for port: Int32, since begin: Int64, limit: Int64 = moveLimit) throws -> Int64 {
            var moved = 0
            while true {
                var polled = pollfd(fd: heard.descriptor, events: Int16(POLLIN), revents: 0)
                let left = begin + limit - BenchClock.now()
                guard left > 0, poll(&polled, 1, Int32(clamping: left / 1_000_000 + 1)) > 0 else {
                    throw LabError("\(moved) of \(macs.count) entries came to the port in time")
                }
                _ = try heard.drain { change in
                    if !change.isRemoval, change.entry.port == port, change.entry.isStatic { moved += 1 }
                }
                if moved >= macs.count { return BenchClock.now() }
            }
        }
    }
}
