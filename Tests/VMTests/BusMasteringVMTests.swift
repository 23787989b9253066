import Glibc
import Lab
import Testing

/// The signal `bus-master` on a real driver's VF: igbvf is bound and unbound while `switch --until` waits. The guest's entries
/// are those of a bridge with software ports, because an 82576 has no representors.
extension MACFilterVMTests {
    /// Runs `body` with a guest on its standby, and the PCI address of its VF, which has no driver.
    private func withVF(_ body: (Machine, String) throws -> Void) throws {
        try Machine.run { machine in
            let lab = try BridgeLab()
            defer {
                try? machine.nic.unbind(0)
                // A VF without a MAC gets one when its driver is bound.
                for vf in ["0", "1"] {
                    _ = try? Command.run(["ip", "link", "set", "nic0", "vf", vf, "mac", "00:00:00:00:00:00"])
                }
                for port in [lab.uplink, lab.primary] { _ = try? Command.run(["ip", "link", "del", port]) }
            }
            try machine.expect(
                0,
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --address \(Self.mac) "
                    + "--at standby")
            try body(machine, machine.nic.address(0))
        }
    }

    /// Starts `fdbsteer switch vm1` with a wait, and returns when the journal shows that it waits.
    private func startWaiting(_ machine: Machine, _ arguments: String) throws -> RunningCommand {
        let running = try RunningCommand(
            machine.words("switch vm1 \(arguments) --timeout 60s"), environment: machine.environment)
        for _ in 0..<1000 {
            if try isWaiting(machine) { return running }
            usleep(10_000)
        }
        kill(running.process, SIGKILL)
        let ended = running.wait()
        throw LabError("it does not wait: \(ended.output)\(ended.errors)")
    }

    private func isWaiting(_ machine: Machine) throws -> Bool {
        let status = try machine.fdbsteer("status vm1 --json").output
        return status.contains("\"phase\" : \"waiting\"") && status.contains("\"running\" : true")
    }

    /// Expects that the wait continues for a while: for 300 reads of the register.
    private func expectNothing(_ machine: Machine, after what: String) throws {
        usleep(300_000)
        #expect(try isWaiting(machine), "the wait ended after \(what)")
    }

    private func expectCame(_ running: consuming RunningCommand, saying words: String...) {
        let command = running.wait()
        #expect(command.exitCode == 0, "\(command.output)\(command.errors)")
        for word in words { #expect(command.output.contains(word), "\(command.output)\(command.errors)") }
    }

    @Test func busMasteringComesWithTheDriverAndGoesWithIt() throws {
        try withVF { machine, device in
            var running = try startWaiting(machine, "--to primary --until bus-master:\(device)=on")
            try expectNothing(machine, after: "nothing")
            // The state of a VF that was given to a guest before the guest's driver is loaded.
            try machine.nic.bind(0, to: "vfio-pci")
            try expectNothing(machine, after: "vfio-pci was bound")
            try machine.nic.unbind(0)
            try expectNothing(machine, after: "vfio-pci was unbound")
            let vf = try machine.nic.bind(0)
            expectCame(running, saying: "signal: bus mastering of \(device) is on, after", "standby -> primary")
            try machine.expect(0, "verify vm1", saying: "as intended, on primary")

            try SRIOVLab.bringUp(vf)
            running = try startWaiting(machine, "--to standby --until bus-master:\(device)=off")
            try Command.script("ip link set \(vf) down")
            try expectNothing(machine, after: "the VF's interface was closed")
            try machine.nic.unbind(0)
            expectCame(running, saying: "signal: bus mastering of \(device) is off, after", "primary -> standby")
            try machine.expect(0, "verify vm1", saying: "as intended, on standby")
            try machine.expect(0, "release vm1")
        }
    }

    @Test func busMasteringThatDoesNotComeChangesNothing() throws {
        try withVF { machine, device in
            // The driver of another VF is not a signal.
            try machine.nic.bind(1)
            try machine.expect(
                6, "switch vm1 --to primary --until bus-master:\(device)=on --timeout 300ms",
                saying: "no signal came in 300 ms", "stays on standby, nothing was changed")
            try machine.nic.unbind(1)
            try machine.expect(0, "verify vm1", saying: "as intended, on standby")
            // A condition that is already true is not waited for.
            try machine.nic.bind(0)
            try machine.expect(
                0, "switch vm1 --to primary --until bus-master:\(device)=on --json", saying: "\"was_already\" : true")
            try machine.expect(
                6, "switch vm1 --to standby --until bus-master:\(device)=off --timeout 300ms",
                saying: "stays on primary, nothing was changed")
            try machine.expect(0, "release vm1")
        }
    }
}
