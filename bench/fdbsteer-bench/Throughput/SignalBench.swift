import FDB
import Glibc
import Lab
import System

/// Measures the daemon's latency, from the line of QEMU's monitor to the kernel's notification of the last moved entry. The
/// guest has eight addresses, and the machine is quiet or has every processor busy.
///
/// A reset of the guest moves it from its primary to its standby, and that is timed. Then the standby is negotiated again and
/// a frame of the guest arrives through its primary, which moves it back. The floor is a C process that only does the move
/// when it gets a line: wakeup, one send, and the notification.
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
        var rows = try floor(lab)
        let state = try TemporaryFolder(parent: setting.folder)
        defer { state.remove() }
        let files = try TemporaryFolder(parent: setting.folder)
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
        try TextFile.write(configuration, to: files.path + "/fdbsteerd.toml")
        let daemon = try RunningCommand([
            // Like the daemon's systemd unit.
            "nice", "-n", "-20", "setpriv", "--pdeathsig", "KILL", setting.binaries + "/fdbsteerd", "--config",
            files.path + "/fdbsteerd.toml", "--state", state.path,
        ])
        let process = daemon.process
        let result = Result { () throws in
            guard monitor.hasClient(within: SignalBench.connectLimit) else {
                print("part signal is left out: fdbsteerd did not connect to the guest's monitor")
                return
            }
            try monitor.serve()
            // The follower queries the situation before it acts.
            usleep(200_000)
            let heard = try Notifications(lab, count: macs.count)
            rows += try measure("fdbsteerd", floors: rows.compactMap(\.usP50)) {
                let time = try heard.time(until: heard.standby) {
                    monitor.say(SignalBench.reset + SignalBench.stamp)
                }
                monitor.say(SignalBench.negotiated + SignalBench.stamp)
                // Repeat until the follower listens for frames, because an earlier frame does not count.
                try heard.repeatUntilMoved(to: heard.primary) {
                    try BridgeLab.sendFrame(behind: lab.primary, source: macs[0])
                }
                return time
            }
        }
        kill(process, SIGTERM)
        monitor.hangUp()
        let ended = daemon.wait()
        do {
            try result.get()
            return rows
        } catch {
            throw LabError("\(error)\n\(ended.errors.suffix(2000))")
        }
    }

    /// The time for a process that has everything ready.
    private func floor(_ lab: BridgeLab) throws -> [ThroughputReport.Row] {
        let peer = try PeerProcess("C on libmnl", [setting.peers + "/fdb_floor", lab.primary, lab.standby, lab.bridge])
        let heard = try Notifications(lab, count: SignalBench.addresses)
        _ = try peer.run("add", SignalBench.addresses)
        let rows = try measure("C on libmnl, the move alone", floors: []) {
            let time = try heard.time(until: heard.standby) { try peer.ask("move", SignalBench.addresses, port: 1) }
            _ = try peer.answer()
            _ = try peer.run("move", SignalBench.addresses, port: 0)
            return time
        }
        _ = try peer.run("delete", SignalBench.addresses)
        return rows
    }

    /// Measures moves on a quiet and on a busy machine, at random moments.
    ///
    /// - Parameters:
    ///   - floors: the medians of the floor, in microseconds.
    ///   - move: makes one move, and returns its duration in nanoseconds.
    private func measure(
        _ who: String, floors: [Double], _ move: () throws -> Int64
    ) throws -> [ThroughputReport.Row] {
        try [("signal, quiet", false), ("signal, all processors busy", true)].enumerated().map { index, condition in
            let load = condition.1 ? try SignalBench.startLoad() : []
            defer { load.forEach { $0.end() } }
            // The daemon keeps working after its move; the receiver must not wait for that on the same processor.
            try SignalBench.schedule(SCHED_FIFO, priority: 1)
            defer { try? SignalBench.schedule(SCHED_OTHER, priority: 0) }
            func times(_ count: Int) throws -> [Double] {
                try (0..<count).map { _ in
                    usleep(.random(in: 5_000..<10_000))
                    return Double(try move())
                }
            }
            // The first moves are the warm-up: code and journal are not in the caches.
            _ = try times(min(50, setting.signals))
            return ThroughputReport.Row(
                work: condition.0, who: who, entries: SignalBench.addresses, events: try times(setting.signals),
                floor: floors.isEmpty ? nil : floors[index] * 1000)
        }
    }

    /// Schedules this thread; processes that it starts are scheduled normally.
    static func schedule(_ policy: Int32, priority: Int32) throws {
        guard Scheduling.set(policy, priority: priority) else {
            throw LabError("cannot set this thread's priority: \(String(cString: strerror(errno)))")
        }
    }

    /// Keeps every processor busy until the processes are gone.
    private static func startLoad() throws -> [SupervisedProcess] {
        try (0..<sysconf(Int32(_SC_NPROCESSORS_ONLN))).map { _ in
            try SupervisedProcess(["sh", "-c", "while :; do :; done"], output: "/dev/null")
        }
    }

    /// The notifications about the entries that another process receives.
    struct Notifications: ~Copyable {
        let primary: Int32
        let standby: Int32
        private let count: Int
        private let heard: FDBMonitor

        /// - Parameter count: the number of the guest's addresses.
        init(_ lab: BridgeLab, count: Int) throws {
            guard let primary = try Interface.index(of: lab.primary), let standby = try Interface.index(of: lab.standby)
            else { throw LabError("the lab has no ports") }
            let heard = try FDBMonitor()
            self.primary = primary
            self.standby = standby
            self.count = count
            self.heard = heard
        }

        /// The time in nanoseconds from before an action until a notification has placed the last of the entries on a port.
        ///
        /// The wait sleeps, because with few processors the daemon would have to wait for a spinning one.
        func time(until port: Int32, _ action: () throws -> Void) throws -> Int64 {
            _ = try heard.drain { _ in }
            let begin = monotonicNanoseconds()
            try action()
            return try wait(for: port, since: begin, limit: moveLimit) - begin
        }

        func repeatUntilMoved(to port: Int32, _ action: () throws -> Void) throws {
            let begin = monotonicNanoseconds()
            while monotonicNanoseconds() - begin < moveLimit {
                try action()
                if (try? wait(for: port, since: monotonicNanoseconds(), limit: 20_000_000)) != nil { return }
            }
            throw LabError("the guest's frame did not bring it back to its primary")
        }

        /// The time when a notification placed the last of the guest's entries on a port.
        private func wait(for port: Int32, since begin: Int64, limit: Int64) throws -> Int64 {
            var moved = 0
            while true {
                var polled = pollfd(fd: heard.descriptor, events: Int16(POLLIN), revents: 0)
                let left = begin + limit - monotonicNanoseconds()
                guard left > 0, poll(&polled, 1, Int32(clamping: left / 1_000_000 + 1)) > 0 else {
                    throw LabError("\(moved) of \(count) entries came to the port in time")
                }
                _ = try heard.drain { change in
                    if !change.isRemoval, change.entry.port == port, change.entry.isStatic { moved += 1 }
                }
                if moved >= count { return monotonicNanoseconds() }
            }
        }
    }
}
