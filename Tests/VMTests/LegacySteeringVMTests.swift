import Glibc
import Lab
import Testing

extension MACFilterVMTests {
    static let prepare = "prepare vm1 --bridge br0 --standby tap0 --pf nic0 --vf 0 --address \(mac)"

    /// Runs `body` with the bridge and a guest on its standby, whose VF has no driver yet.
    private func withGuest(_ body: (Machine) throws -> Void) throws {
        try Machine.run { machine in
            try machine.nic.makeBridge()
            defer {
                try? machine.nic.unbind(0)
                _ = try? Command.run(["ip", "link", "set", "nic0", "vf", "0", "mac", "00:00:00:00:00:00"])
                _ = try? Command.run(["bridge", "fdb", "del", Self.mac, "dev", "nic0", "self"])
            }
            try machine.expect(0, "\(Self.prepare) --at standby", saying: "pinned on standby")
            try body(machine)
        }
    }

    /// Waits until a frame sent from now on has arrived at a place.
    private func wait(_ stream: SteadyFrames, for place: String) throws {
        let now = stream.position
        for _ in 0..<1000 {
            if stream.hasReceived(at: place, from: now) { return }
            usleep(10_000)
        }
        throw LabError("no frame came to \(place) within 10 s")
    }

    // MARK: - The probe's predictions, as a guest sees them

    @Test func aLateDriverLosesEveryFrameAsPredicted() throws {
        try withGuest { machine in
            let stream = try machine.stream()
            defer { stream.stop() }
            try wait(stream, for: "tap0-far")
            // The target host's commands of net_failover.rst, and the MAC that libvirt gives to the VF that it plugs.
            let begin = stream.position
            try Command.script(
                """
                ip link set nic0 vf 0 mac \(Self.mac)
                bridge fdb del \(Self.mac) dev nic0 self
                """)
            usleep(20_000)
            let stolen = stream.position
            usleep(200_000)
            let vf = try machine.nic.bind(0)
            try stream.attach(vf)
            usleep(200_000)
            // The probe predicts: nothing arrives while unbound or bound, and frames reach the VF when it is up.
            let beforeUp = stream.position
            try SRIOVLab.bringUp(vf)
            try wait(stream, for: vf)
            let up = stream.position
            usleep(200_000)
            let end = stream.position
            stream.stop()
            #expect(stream.count(from: 0, to: begin).lost.isEmpty)
            let predicted = stream.count(from: stolen, to: beforeUp)
            #expect(predicted.lost.count == predicted.sent && predicted.sent > 100, "\(predicted.received)")
            let afterwards = stream.count(from: up, to: end)
            #expect(afterwards.lost.isEmpty && afterwards.received[vf] == afterwards.sent)
        }
    }

    @Test func nothingIsLostInTheOrderOfTheVerdict() throws {
        try withGuest { machine in
            let stream = try machine.stream()
            defer { stream.stop() }
            try wait(stream, for: "tap0-far")
            // The VF gets its MAC while the port's entry stays, and its driver afterwards.
            try Command.script("ip link set nic0 vf 0 mac \(Self.mac)")
            usleep(200_000)
            let vf = try machine.nic.bind(0)
            try stream.attach(vf)
            usleep(100_000)
            try SRIOVLab.bringUp(vf)
            try wait(stream, for: vf)
            let moving = stream.position
            try machine.expect(0, "switch vm1 --to primary", saying: "standby -> primary")
            let moved = stream.position
            try machine.expect(0, "verify vm1", saying: "as intended, on primary")
            usleep(200_000)
            let leaving = stream.position
            try machine.expect(0, "switch vm1 --to standby --require-proof", saying: "proven", "left by tap0")
            let left = stream.position
            try Command.script("ip link set \(vf) down")
            try machine.nic.unbind(0)
            usleep(200_000)
            let end = stream.position
            stream.stop()
            let all = stream.count(from: 0, to: end)
            #expect(all.lost.isEmpty, "\(all.lost.count) of \(all.sent) are lost, the first \(all.lost.prefix(5))")
            #expect(stream.count(from: 0, to: moving).duplicated > 0)
            // While the guest is on the primary only the VF gets the frames, and afterwards only the standby.
            let primary = stream.count(from: moved, to: leaving)
            #expect(primary.received[vf] == primary.sent && primary.duplicated == 0)
            let standby = stream.count(from: left, to: end)
            #expect(standby.received["tap0-far"] == standby.sent && standby.duplicated == 0)
        }
    }

    // MARK: - The verbs

    @Test func thereAndBackAndReleased() throws {
        try withGuest { machine in
            let entry = "\(Self.mac) dev nic0 self permanent"
            func filters() throws -> (vf: Bool, entry: Bool) {
                let links = try Command.run(["ip", "link", "show", "dev", "nic0"]).output
                return (
                    links.contains("vf 0     link/ether \(Self.mac)"),
                    try Command.run(["bridge", "fdb", "show"]).output.contains(entry)
                )
            }
            #expect(try filters() == (false, true))
            try machine.expect(0, "\(Self.prepare) --at standby", saying: "already prepared")
            try machine.expect(0, "switch vm1 --to standby", saying: "already")
            try machine.expect(
                0, "switch vm1 --to primary --dry-run", saying: "ip link set nic0 vf 0 mac \(Self.mac)",
                "bridge fdb del \(Self.mac) dev nic0 self")
            #expect(try filters() == (false, true))
            try machine.expect(0, "switch vm1 --to primary")
            #expect(try filters() == (true, false))
            try machine.expect(0, "switch vm1 --to remote")
            #expect(try filters() == (false, false))
            try machine.expect(0, "verify vm1", saying: "as intended, on remote")
            try machine.expect(0, "switch vm1 --to standby")
            try Command.script("bridge fdb del \(Self.mac) dev nic0 self")
            try machine.expect(3, "verify vm1", saying: "the unicast list of nic0 lacks \(Self.mac)")
            try machine.expect(0, "reconcile")
            #expect(try filters() == (false, true))
            try machine.expect(3, "verify vm2")
            // A MAC of another guest on the VF is not changed.
            try Command.script("ip link set nic0 vf 0 mac 02:00:00:00:00:99")
            try machine.expect(3, "switch vm1 --to primary", saying: "has the MAC 02:00:00:00:00:99")
            #expect(try filters() == (false, true))
            try machine.expect(0, "release vm1", saying: "released on standby")
            #expect(try filters() == (false, false))
        }
    }

    @Test func killedInTheMiddleAndReconciled() throws {
        try withGuest { machine in
            for round in 0..<18 {
                let goal = round % 2 == 0 ? "primary" : "standby"
                let running = try RunningCommand(
                    machine.words("switch vm1 --to \(goal)"), environment: machine.environment)
                usleep(useconds_t(1000 * round))
                kill(running.process, [SIGKILL, SIGINT, SIGTERM][round % 3])
                _ = running.wait()
                try machine.expect(0, "reconcile", saying: "vm1: ")
                try machine.expect(0, "verify vm1", saying: "as intended")
                try machine.expect(0, "switch vm1 --to \(goal)")
                try machine.expect(0, "verify vm1", saying: "as intended, on \(goal)")
            }
            try machine.expect(0, "release vm1")
        }
    }

    @Test func whatWouldBlockIsNamed() throws {
        try Machine.run { machine in
            try machine.nic.makeBridge()
            let at = "\(Self.prepare) --at standby"
            func isRefused(after command: String, saying words: String, then undo: String) throws {
                try Command.script(command)
                try machine.expect(3, at, saying: words)
                try Command.script(undo)
            }
            try isRefused(
                after: "ip link set nic0 vf 0 vlan 5", saying: "has VLAN 5", then: "ip link set nic0 vf 0 vlan 0")
            try isRefused(
                after: "ip link set nic0 vf 2 mac \(Self.mac)", saying: "is set for VF 2 of nic0 too",
                then: "ip link set nic0 vf 2 mac 00:00:00:00:00:00")
            try machine.expect(3, at.replacing("--vf 0", with: "--vf 8"), saying: "nic0 has no VF 8")
            try machine.expect(3, at.replacing("--pf nic0", with: "--pf plain0 --uplink nic0"), saying: "no SR-IOV")
            try machine.expect(64, at.replacing("--vf 0", with: ""), saying: "--primary, or by --pf and --vf")
            try machine.expect(64, at + " --address 02:00:00:00:00:07", saying: "has one MAC")

            // Another VF is the bridge's port to the NIC.
            let uplink = try machine.nic.bind(1)
            defer {
                try? machine.nic.unbind(1)
                _ = try? Command.run(["ip", "link", "set", "nic0", "vf", "1", "mac", "00:00:00:00:00:00"])
            }
            try SRIOVLab.bringUp(uplink)
            try Command.script("ip link set nic0 nomaster\nip link set \(uplink) master br0")
            // Another MAC, because igb keeps in its filter a MAC that a VF has removed from its list.
            let through = at.replacing(Self.mac, with: "02:00:00:fd:b5:66") + " --uplink \(uplink)"
            try machine.expect(3, through, saying: "has spoof checking on", "vf 1 spoofchk off")
            try Command.script("ip link set nic0 vf 1 spoofchk off")
            try machine.expect(3, through, saying: "is not trusted", "vf 1 trust on")
            try Command.script("ip link set nic0 vf 1 trust on")
            try machine.expect(0, through, saying: "pinned on standby")
            try machine.expect(3, through.replacing("vm1", with: "vm2"), saying: "guest vm1")
            try machine.expect(0, "release vm1")
            try Command.script("ip link set nic0 vf 1 spoofchk on\nip link set nic0 vf 1 trust off")
        }
    }
}
