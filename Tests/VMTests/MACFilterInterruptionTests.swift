import Glibc
import Lab
import Testing

extension MACFilterVMTests {
    /// The number of the probe's steps as its progress counts them, without the restoration.
    static let steps = 63

    /// Starts a probe, and waits until it announces a step.
    private func start(_ machine: Machine, untilStep step: Int) throws -> RunningCommand {
        let words = machine.words(Self.probe + " --frames 4")
        let running = try RunningCommand(words, environment: machine.environment)
        reach(step, of: running)
        return running
    }

    private func reach(_ step: Int, of running: borrowing RunningCommand) {
        let last = step > Self.steps ? "\(Self.steps): restore" : "probe \(step)/"
        for _ in 0..<60_000 {
            if running.errorsSoFar.contains(last) { break }
            usleep(500)
        }
    }

    /// Runs a probe until it announces a step, sends it a signal, and waits for its end.
    private func interrupt(_ machine: Machine, step: Int, signal: Int32) throws -> Command {
        let running = try start(machine, untilStep: step)
        kill(running.process, signal)
        return running.wait()
    }

    @Test func killedAtEveryStepAndReconciled() throws {
        try Machine.run { machine in
            let before = try machine.nic.state()
            for step in 1...(Self.steps + 1) {
                let command = try interrupt(machine, step: step, signal: SIGKILL)
                guard command.exitCode == 128 + SIGKILL else {
                    // The last step may be over before the signal arrives.
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

    /// Tests every second step: MACFilterTests shows without a NIC that each step is followed by the restoration.
    @Test func interruptedAndRestored() throws {
        try Machine.run { machine in
            let before = try machine.nic.state()
            for step in stride(from: 1, through: Self.steps, by: 2) {
                let signal = [SIGINT, SIGTERM, SIGHUP][step % 3]
                let command = try interrupt(machine, step: step, signal: signal)
                // A signal during the last measurement may arrive when nothing is left to stop early.
                let isLate = step > Self.steps - 2 && command.exitCode == 0
                #expect(command.exitCode == 4 || isLate, "step \(step): \(command.exitCode) \(command.errors)")
                #expect(isLate || command.errors.contains("interrupted"), "step \(step): \(command.errors)")
                #expect(try machine.nic.state() == before, "step \(step), signal \(signal)")
            }
            try machine.expect(0, "reconcile", saying: "no guest is prepared")
        }
    }

    /// igb may miss the reset of a bound VF: the VF has no carrier until its driver resets it again, about 10 s later.
    @Test func aVFThatThePFDoesNotHearIsWaitedFor() throws {
        try Machine.run { machine in
            let before = try machine.nic.state()
            for isInterrupted in [false, true] {
                // Bound and measured, but not up yet.
                let running = try start(machine, untilStep: 13)
                try machine.nic.deafen(0)
                reach(17, of: running)
                sleep(2)
                let saidAtOnce = running.errorsSoFar
                #expect(!saidAtOnce.contains("probe 18/"), "the VF had its carrier at once")
                if isInterrupted { kill(running.process, SIGTERM) }
                let command = running.wait()
                #expect(command.exitCode == (isInterrupted ? 4 : 0), "\(command.errors)")
                #expect(command.errors.contains("interrupted") == isInterrupted, "\(command.errors)")
                #expect(command.errors.contains("probe 18/") != isInterrupted, "\(command.errors)")
                #expect(try machine.nic.state() == before)
            }
        }
    }
}
