import CLab
import Glibc
import Lab
import Testing

/// `fdbsteer announce`, received at the other end of the uplink.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct AnnouncementTests {
    @Test func everyAddressIsHeardAsOftenAsAsked() throws {
        try CommandLineLab.run { lab in
            try lab.prepare("--address 52:54:00:00:00:02")
            let index = try #require(try Interface.index(of: "uplink0-far"))
            let listener = clab_packet_socket(index, 0x8035, 1 << 20)
            try #require(listener >= 0)
            defer { close(listener) }
            let command = try lab.fdbsteer("announce vm1 --count 3 --interval 10ms")
            #expect(command.exitCode == 0, "\(command.errors)")
            var heard: [String: Int] = [:]
            var frames = [clab_frame](repeating: clab_frame(), count: Int(CLAB_BATCH))
            let count = clab_receive(listener, &frames)
            for frame in frames.prefix(Int(max(0, count))) {
                #expect(frame.length == 60)
                let source = withUnsafeBytes(of: frame.bytes) { Array($0[6..<12]) }
                heard[source.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":"), default: 0] +=
                    1
            }
            #expect(heard == ["52:54:00:00:00:01": 3, "52:54:00:00:00:02": 3])
            // The frames bypass the bridge, which learned nothing from them.
            #expect(try lab.port() == "vfrep0")
            #expect(try lab.fdbsteer("announce vm1 --dry-run").output.contains("2 frames a round, 0 rounds"))
            #expect(clab_receive(listener, &frames) == 0)
        }
    }

    /// The kernel's own ARP and neighbour discovery accept the frames.
    @Test func hostsLearnTheGuestsMAC() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try Command.script(
                """
                ip addr add 192.0.2.1/24 dev uplink0-far
                ip -6 addr add 2001:db8::1/64 dev uplink0-far nodad
                ip neigh add 192.0.2.7 lladdr 52:54:00:00:00:99 dev uplink0-far nud stale
                ip -6 neigh add 2001:db8::7 lladdr 52:54:00:00:00:99 dev uplink0-far nud stale
                """)
            let command = try lab.fdbsteer("announce vm1 --ip 192.0.2.7 --ip 2001:db8::7 --count 1 --json")
            #expect(command.exitCode == 0 && command.output.contains("\"frames\" : 3"), "\(command.errors)")
            try lab.waitUntil {
                let neighbours = try Command.run(["ip", "neigh", "show", "dev", "uplink0-far"]).output
                let six = try Command.run(["ip", "-6", "neigh", "show", "dev", "uplink0-far"]).output
                return neighbours.contains("192.0.2.7 lladdr \(CommandLineLab.mac)")
                    && six.contains("2001:db8::7 lladdr \(CommandLineLab.mac)")
            }
        }
    }

    /// An announcement of a guest that has left draws its frames away from it.
    @Test(arguments: [("switch vm1 --to remote", "it was switched to remote"), ("release vm1", "it was released")])
    func whoHasLeftIsAnnouncedNoMore(_ verb: String, _ words: String) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let index = try #require(try Interface.index(of: "uplink0-far"))
            let listener = clab_packet_socket(index, 0x8035, 1 << 20)
            try #require(listener >= 0)
            defer { close(listener) }
            let running = try RunningCommand(
                [CommandLineLab.binary, "announce", "vm1", "--count", "100", "--interval", "1s"],
                environment: ["FDBSTEER_STATE": lab.state])
            var frames = [clab_frame](repeating: clab_frame(), count: Int(CLAB_BATCH))
            try lab.waitUntil { clab_receive(listener, &frames) > 0 }
            #expect(try lab.fdbsteer(verb).exitCode == 0)
            let command = running.wait()
            #expect(command.exitCode == 3 && command.errors.contains(words), "\(command.errors)")
        }
    }

    @Test func refusals() throws {
        try CommandLineLab.run { lab in
            try lab.refused("announce vm1", code: 3, saying: "guest vm1 is not known")
            try lab.prepare("--address 52:54:00:00:00:02")
            try lab.refused("announce vm1 --ip 192.0.2.7", code: 64, saying: "whose is 192.0.2.7")
            try lab.refused(
                "announce vm1 --ip 192.0.2.7=52:54:00:00:00:03", code: 64, saying: "is no address of guest vm1")
            #expect(try lab.fdbsteer("announce vm1 --ip 192.0.2.7=52:54:00:00:00:02 --count 1").exitCode == 0)
            #expect(try lab.fdbsteer("switch vm1 --to remote").exitCode == 0)
            try lab.refused("announce vm1", code: 3, saying: "guest vm1 is remote")
        }
    }
}
