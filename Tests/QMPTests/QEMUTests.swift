import Glibc
import Lab
import QMP
import System
import Testing

private let emulator: String? = ["/usr/bin/qemu-system-x86_64", "/usr/local/bin/qemu-system-x86_64"].first {
    access($0, X_OK) == 0
}

/// The client against a real QEMU, in which no guest runs.
@Suite(.enabled(if: emulator != nil, "qemu-system-x86_64 is not installed"))
struct QEMUTests {
    /// Runs QEMU with a monitor at a path, and ends it afterwards.
    private func withQEMU(
        _ extra: [String] = [], _ body: (_ path: String, _ process: pid_t) throws -> Void
    ) throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let path = folder.path + "/qmp"
        let running = try RunningCommand(
            [
                emulator ?? "", "-S", "-nodefaults", "-nographic", "-machine", "q35", "-accel", "tcg", "-m",
                "32",
                "-qmp", "unix:\(path),server=on,wait=off",
            ] + extra)
        let process = running.process
        let result = Result { try body(path, process) }
        kill(process, SIGKILL)
        let ended = running.wait()
        #expect(ended.errors.isEmpty || !ended.errors.contains("error"), "\(ended.errors)")
        try result.get()
    }

    /// Waits for a client's reports until the test has seen enough.
    private func listen(_ client: inout QMPClient, until enough: ([QMPClient.Happening]) -> Bool) -> [QMPClient
        .Happening]
    {
        var told: [QMPClient.Happening] = []
        let end = monotonicNanoseconds() + 60_000_000_000
        while !enough(told), monotonicNanoseconds() < end {
            var polled = pollfd(fd: client.descriptor ?? -1, events: client.pollEvents, revents: 0)
            let wait = client.nextDeadline.map { max(0, $0 - monotonicNanoseconds()) / 1_000_000 + 1 } ?? 1000
            poll(&polled, 1, Int32(min(wait, 1000)))
            client.advance(now: monotonicNanoseconds()) { told.append($0) }
        }
        return told
    }

    private func isConnected(_ told: [QMPClient.Happening]) -> Bool {
        if case .connected = told.last { true } else { false }
    }

    @Test func negotiatesAsksAndHearsEvents() throws {
        try withQEMU([
            "-netdev", "hubport,hubid=0,id=hub0", "-device", "pcie-root-port,id=port0,chassis=1",
            "-device", "virtio-net-pci,netdev=hub0,id=net1,mac=52:54:00:00:00:01,failover=on,bus=port0,romfile=",
        ]) { path, process in
            var client = QMPClient(path: path, now: monotonicNanoseconds())
            var told = listen(&client, until: isConnected)
            guard case .connected(let situation) = told.last else {
                Issue.record("\(told)")
                return
            }
            #expect(situation.version.split(separator: ".").count == 3)
            #expect(situation.runState == "prelaunch" && !situation.isRunning)
            #expect(situation.migration == .none)
            #expect(situation.filters.map(\.name) == ["net1"])
            #expect(situation.filters.first?.mainMAC == "52:54:00:00:00:01")

            let command = client.send("no-such-command")
            let refused = try #require(command)
            told = listen(&client) { !$0.isEmpty }
            guard case .reply(refused, .failure(let refusal)) = told.first else {
                Issue.record("\(told)")
                return
            }
            #expect(refusal.kind == "CommandNotFound")

            let asked = Stopwatch.realTime
            for command in ["cont", "stop", "system_reset", "quit"] { _ = client.send(command) }
            told = listen(&client) { if case .disconnected = $0.last { true } else { false } }
            var events: [QMPEvent] = []
            for case .event(let event) in told { events.append(event) }
            #expect(events.map(\.name) == [.resume, .stop, .reset, .shutdown])
            for event in events {
                #expect(abs((event.time ?? 0) - asked) < 120_000_000_000)
            }
        }
    }

    @Test func aSecondClientIsServedWhenTheFirstHasGone() throws {
        try withQEMU { path, process in
            var second: QMPClient
            var told: [QMPClient.Happening] = []
            do {
                var first = QMPClient(path: path, now: monotonicNanoseconds())
                told = listen(&first, until: isConnected)
                #expect(isConnected(told))
                second = QMPClient(path: path, now: monotonicNanoseconds())
                second.advance(now: monotonicNanoseconds()) { Issue.record("\($0)") }
                let isWaiting = second.descriptor != nil && !second.isConnected
                #expect(isWaiting)
            }
            told = listen(&second, until: isConnected)
            #expect(isConnected(told))
        }
    }
}
