import Glibc
import Lab
import Testing

/// fdbsteerd and libvirt's events: a program prints the test's lines in virsh's format; `LibvirtVMTests` uses the real one.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct EventCommandTests {
    /// The program: it records its process id and prints the lines that are written to a FIFO.
    private struct Virsh {
        let state: String
        let fifo: Int32

        init(_ lab: CommandLineLab) throws {
            state = lab.state
            guard mkfifo(state + "/events", 0o600) == 0 else { throw LabError("cannot make a FIFO") }
            // Open at both ends, so lines wait for the next reader.
            fifo = open(state + "/events", O_RDWR | O_CLOEXEC)
            _ = try lab.script("virsh", "echo $$ >>\(state)/pids\nexec cat \(state)/events")
        }

        var processes: [pid_t] {
            TextFile.read(state + "/pids").split(separator: "\n").compactMap { pid_t($0) }
        }

        func say(_ text: String) {
            let bytes = Array(text.utf8)
            _ = bytes.withUnsafeBytes { write(fifo, $0.baseAddress, $0.count) }
        }

        func tell(_ name: String, _ data: String = "{}", domain: String = "web 1") {
            say("event \(name) at 1700000000.000005 for domain '\(domain)': \(data)\n")
        }
    }

    private static func prepare(_ lab: CommandLineLab, at side: String) throws {
        let prepared = try lab.fdbsteer(
            "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --kind net_failover --at \(side) "
                + "--address \(CommandLineLab.mac)")
        #expect(prepared.exitCode == 0, "\(prepared.errors)")
    }

    private static func configuration(_ command: String) -> String {
        """
        [log]
        level = "debug"
        [libvirt]
        events_command = [\(command)]
        [[guest]]
        id = "vm1"
        domain = "web 1"
        follow = true
        primary_device = "prim"
        standby_device = "net1"

        """
    }

    private static func run(
        at side: String = "primary", _ body: @escaping @Sendable (DaemonLab, Virsh) throws -> Void
    ) throws {
        try CommandLineLab.run(flooding: false) { lab in
            let virsh = try Virsh(lab)
            defer { close(virsh.fifo) }
            try prepare(lab, at: side)
            try DaemonLab.run(in: lab, configuration: configuration("\"\(lab.state)/virsh\"")) { daemon in
                try body(daemon, virsh)
            }
            // The program has ended with the daemon.
            for process in virsh.processes { #expect(kill(process, 0) != 0 && errno == ESRCH, "\(process) runs") }
        }
    }

    private static func isBracketed(_ daemon: DaemonLab) throws -> Bool {
        try daemon.lab.fdbsteer("status vm1 --json").output.contains("\"is_copy_right\" : true")
    }

    @Test func aMigrationAway() throws {
        try EventCommandTests.run { daemon, virsh in
            try daemon.waitFor("hearing libvirt's events")
            try daemon.waitFor("to=primary")
            // Lines about another guest, lines that are not events, and lines that are too long.
            virsh.tell("UNPLUG_PRIMARY", #"{"device-id":"prim"}"#, domain: "web")
            virsh.tell("UNPLUG_PRIMARY", #"{"device-id":"other"}"#)
            virsh.say("error: nothing\nevents received: 3\nevent \u{0} for domain 'web 1': {\n\n")
            virsh.say(String(repeating: "x", count: 200_000) + "\n")
            virsh.tell("RTC_CHANGE", #"{"offset":0}"#)
            try daemon.waitFor("RTC_CHANGE")
            #expect(daemon.count("to=leaving") == 0, "\(daemon.log)")
            virsh.tell("UNPLUG_PRIMARY", #"{"device-id":"prim","path":"/machine/peripheral/prim"}"#)
            try daemon.waitFor("to=leaving")
            try daemon.waitForEntry("dev tap0 master br0 static")
            #expect(try EventCommandTests.isBracketed(daemon), "\(daemon.log)")
            virsh.tell("MIGRATION", #"{"status":"active"}"#)
            try daemon.waitFor("to=migrating")
            virsh.tell("STOP", "<null>")
            virsh.tell("MIGRATION", #"{"status":"completed"}"#)
            try daemon.waitFor("to=gone")
            try daemon.waitForEntry("dev uplink0 master br0 static")
            #expect(try daemon.lab.fdbsteer("verify vm1").exitCode == 0)
        }
    }

    @Test func aGuestThatArrivesAndEnds() throws {
        try EventCommandTests.run(at: "remote") { daemon, virsh in
            try daemon.waitFor("to=awaited")
            virsh.tell("FAILOVER_NEGOTIATED", #"{"device-id":"net1"}"#)
            try daemon.waitForEntry("dev tap0 master br0 static")
            virsh.tell("RESUME", "<null>")
            virsh.tell("MIGRATION", #"{"status":"completed"}"#)
            try daemon.waitFor("to=coming")
            try BridgeLab.sendFrame(behind: "vfrep0", source: CommandLineLab.mac)
            try daemon.waitFor("to=primary")
            try daemon.waitForEntry("dev vfrep0 master br0 static")
            // Only this event shows that QEMU has ended; the next boot begins on the standby.
            virsh.tell("SHUTDOWN", #"{"guest":true,"reason":"guest-shutdown"}"#)
            try daemon.waitForEntry("dev tap0 master br0 static")
            try daemon.waitFor("to=standby")
            virsh.tell("FAILOVER_NEGOTIATED", #"{"device-id":"net1"}"#)
            try daemon.waitFor("to=coming", times: 2)
        }
    }

    @Test func aProgramThatEndsIsStartedAgainAndTheEntriesTellWhereToGoOn() throws {
        try EventCommandTests.run { daemon, virsh in
            try daemon.waitFor("to=primary")
            virsh.tell("UNPLUG_PRIMARY", #"{"device-id":"prim"}"#)
            try daemon.waitFor("to=leaving")
            let first = try #require(virsh.processes.last)
            kill(first, SIGKILL)
            try daemon.waitFor("libvirt's events are not heard")
            try daemon.waitFor("hearing libvirt's events", times: 2)
            #expect(virsh.processes.count == 2)
            // Frames reached both ports the whole time.
            #expect(try EventCommandTests.isBracketed(daemon), "\(daemon.log)")
            try daemon.waitFor("to=leaving", times: 2)
            virsh.tell("MIGRATION", #"{"status":"active"}"#)
            try daemon.waitFor("to=migrating")
            try daemon.waitForEntry("dev tap0 master br0 static")
            #expect(try daemon.lab.fdbsteer("status vm1 --json").output.contains("\"phase\" : \"pinned\""))
        }
    }

    @Test(arguments: [
        ("\"/nonexistent/virsh\"", "cannot start a process"),
        ("\"sh\", \"-c\", \"echo x >>$STATE/starts; echo error: failed to connect; exit 1\"", "ended: error: failed"),
    ])
    func aProgramThatDoesNotWorkIsTriedLessAndLessOften(command: String, words: String) throws {
        try CommandLineLab.run(flooding: false) { lab in
            try EventCommandTests.prepare(lab, at: "primary")
            let configuration = EventCommandTests.configuration(command.replacing("$STATE", with: lab.state))
            try DaemonLab.run(in: lab, configuration: configuration) { daemon in
                try daemon.waitFor("libvirt's events are not heard")
                usleep(2_000_000)
                let told = daemon.log.split(separator: "\n").filter { $0.contains("libvirt's events are not heard") }
                #expect(told.count == 1 && told.first?.contains(words) == true, "\(daemon.log)")
                #expect(daemon.count("msg=condition code=monitor-silent") == 1, "\(daemon.log)")
                #expect(daemon.count("hearing") == 0, "\(daemon.log)")
                // Starts at 0, 0.1, 0.3, 0.7 and 1.5 s.
                let starts = try Command.run(["sh", "-c", "cat \(lab.state)/starts 2>/dev/null"]).output.utf8.count / 2
                #expect(starts <= 6, "\(starts) starts")
                #expect(try lab.fdbsteer("verify vm1").exitCode == 0)
            }
        }
    }

    @Test func anEndlessLineNeitherFillsTheMemoryNorStopsTheDaemon() throws {
        try CommandLineLab.run(flooding: false) { lab in
            try EventCommandTests.prepare(lab, at: "primary")
            let command = "\"sh\", \"-c\", \"tr '\\\\0' x </dev/zero\""
            try DaemonLab.run(in: lab, configuration: EventCommandTests.configuration(command)) { daemon in
                try daemon.waitFor("hearing libvirt's events")
                for _ in 0..<5 {
                    try Command.script("bridge fdb del \(CommandLineLab.mac) dev vfrep0 master")
                    try daemon.waitForEntry("dev vfrep0 master br0 static")
                }
                let status = try Command.run(["grep", "VmHWM", "/proc/\(daemon.process)/status"]).output
                let kilobytes = status.split { $0 == " " || $0 == "\t" }.compactMap { Int($0) }.first
                #expect(try #require(kilobytes) < 65536, "\(status)")
            }
        }
    }
}
