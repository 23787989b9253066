import Glibc
import Lab
import Synchronization
import System

/// A monitor without QEMU that serves clients on a thread of its own, and misbehaves when told to.
final class ChaosMonitor: Sendable {
    /// How it behaves.
    enum Manner: String, CaseIterable {
        /// Answers what it is asked.
        case honest
        /// Accepts, and says nothing.
        case silent
        /// Sends events without end.
        case flood
        /// Sends what is no QMP.
        case nonsense
        /// Hangs up on everybody.
        case dead
    }

    private struct State {
        var manner = Manner.honest
        var lines: [String] = []
        var isOver = false
    }

    /// The path of its socket.
    let path: String
    private let state = Mutex(State())
    private let thread: Mutex<LabThread?> = Mutex(nil)

    /// Events in one write of a flood.
    private static let wave = String(
        repeating: FakeMonitor.event("BALLOON_CHANGE", #"{"actual": 1}"#), count: 200)

    /// - Throws: ``LabError``.
    init() throws {
        // Used by its thread alone from here on.
        nonisolated(unsafe) let monitor = try FakeMonitor()
        path = monitor.path
        let body: @Sendable () -> Void = { [self] in serve(monitor) }
        let started = try Namespace.thread(body)
        thread.withLock { $0 = started }
    }

    /// Changes how it behaves.
    func behave(_ manner: Manner) { state.withLock { $0.manner = manner } }

    /// Sends an event at its next turn.
    func tell(_ event: String, _ data: String = "{}") {
        state.withLock { $0.lines.append(FakeMonitor.event(event, data)) }
    }

    /// Ends it. Its clients must have ended before, because it may be sending to one that does not read.
    func end() {
        state.withLock { $0.isOver = true }
        thread.withLock { $0.take() }?.join()
    }

    private func serve(_ monitor: FakeMonitor) {
        var manner = Manner.honest
        while true {
            let (now, lines, isOver) = state.withLock { state in
                defer { state.lines = [] }
                return (state.manner, state.lines, state.isOver)
            }
            if isOver { return }
            if now == .dead, manner != .dead { monitor.hangUp() }
            manner = now
            if monitor.hasClient(within: 5) {
                monitor.hangUp()
                monitor.accept()
                if manner == .dead { monitor.hangUp() }
                if manner != .silent { monitor.say(manner == .nonsense ? "220 smtp ready\n" : FakeMonitor.greeting) }
            }
            let questions = monitor.heard()
            switch manner {
            case .honest, .flood: for question in questions { monitor.say(FakeMonitor.answer(question)) }
            case .nonsense: for _ in questions { monitor.say("{\"return\": [[[[\u{0}\n") }
            case .silent, .dead: break
            }
            for line in lines { monitor.say(line) }
            if manner == .flood { monitor.say(ChaosMonitor.wave) }
        }
    }
}

/// Monitors that flood, lie and die.
enum ChaosMonitors {
    static let family = ChaosFamily(weight: 6) { random in
        let number = random.guest()
        if random.onceIn(3) {
            let lie = random.one(of: lies)
            let liar = random.one(of: [1, 4])
            return ChaosOperation(kind: "monitor lie", words: "monitor of vm\(liar) says \(lie.event) \(lie.data)") {
                world in
                let guest = world.guests[liar]
                // Whoever follows it acts on its word.
                guest.doubt = .untilSwitched
                world.monitors[liar].tell(lie.event, lie.data)
                usleep(30_000)
            }
        }
        let manner = random.one(of: [.honest, .honest] + ChaosMonitor.Manner.allCases)
        return ChaosOperation(kind: "monitor \(manner)", words: "monitor of vm\(number): \(manner)") { world in
            world.monitors[number].behave(manner)
            usleep(20_000)
        }
    }

    private static let lies: [(event: String, data: String)] = [
        ("DEVICE_DELETED", #"{"device": "vf", "path": "/machine/peripheral/vf"}"#),
        ("UNPLUG_PRIMARY", #"{"device-id": "vf"}"#),
        ("MIGRATION", #"{"status": "active"}"#),
        ("MIGRATION", #"{"status": "failed"}"#),
        ("MIGRATION", #"{"status": "cancelled"}"#),
        ("MIGRATION", #"{"status": "completed"}"#),
        ("FAILOVER_NEGOTIATED", #"{"device-id": "net0"}"#),
        ("RESUME", "{}"), ("RESET", #"{"guest": true, "reason": "guest-reset"}"#), ("STOP", "{}"),
        ("SHUTDOWN", #"{"guest": true, "reason": "guest-shutdown"}"#),
    ]
}
