import Glibc
import Lab
import Testing

extension MACFilterVMTests {
    /// The probe's steps, as its progress numbers them; the restoration comes after them.
    static let steps = 63

    /// Runs a probe until it announces a step, sends it a signal, and waits for its end.
    private func interrupt(_ machine: Machine, step: Int, signal: Int32) throws -> Command {
        let words = machine.words(Self.probe + " --frames 4")
        let running = try RunningCommand(words, environment: machine.environment)
        let last = step > Self.steps ? "\(Self.steps): restore" : "probe \(step)/"
        for _ in 0..<60_000 {
            if running.errorsSoFar.contains(last) { break }
            usleep(500)
        }
        kill(running.process, signal)
        return running.wait()
    }

    @Test func killedAtEveryStepAndReconciled() throws {
        try Machine.run { machine in
            let before = try machine.nic.state()
            for step in 1...(Self.steps + 1) {
                let command = try interrupt(machine, step: step, signal: SIGKILL)
                guard command.exitCode == 128 + SIGKILL else {
                    // The last step may be over before the signal comes.
                    #expect(command.exitCode == 0 && step > Self.steps, "step \(step): \(command.errors)")
                    continue
                }
                if step == 8 {
                    #expect(try machine.nic.state() != before)
                    try machine.expect(3, Self.probe, saying: "a probe of nic0 did not end", "fdbsteer reconcile")
                }
                try machine.expect(0, "reconcile", saying: "a probe did not end: the NIC is as it was before it")
                #expect(try machine.nic.state() == before, "step \(step)")
            }
            try machine.expect(0, "reconcile", saying: "no guest is prepared")
        }
    }

    /// At every second step: that each of them is followed by the restoration is shown without a NIC (MACFilterTests).
    @Test func interruptedAndRestored() throws {
        try Machine.run { machine in
            let before = try machine.nic.state()
            for step in stride(from: 1, through: Self.steps, by: 2) {
                let signal = [SIGINT, SIGTERM, SIGHUP][step % 3]
                let command = try interrupt(machine, step: step, signal: signal)
                // A signal during the last measurement may come when there is nothing left to end early.
                let isLate = step > Self.steps - 2 && command.exitCode == 0
                #expect(command.exitCode == 4 || isLate, "step \(step): \(command.exitCode) \(command.errors)")
                #expect(isLate || command.errors.contains("interrupted"), "step \(step): \(command.errors)")
                #expect(try machine.nic.state() == before, "step \(step), signal \(signal)")
            }
            try machine.expect(0, "reconcile", saying: "no guest is prepared")
        }
    }
}
