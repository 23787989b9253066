import Glibc
import Lab
import Testing

/// The moves of MACs on any bridge, as `watch` shows them.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct WatchTests {
    private static let mac = "52:54:00:00:00:01"

    /// Runs `watch` while something happens, and ends it as Ctrl-C does.
    private func watch(
        _ lab: CommandLineLab, _ arguments: String, without privilege: Bool = false, _ body: () throws -> Void
    ) throws -> Command {
        var words = [CommandLineLab.binary, "watch"] + arguments.split(separator: " ").map(String.init)
        if privilege { words = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"] + words }
        let running = try RunningCommand(words, environment: ["FDBSTEER_STATE": "/nowhere"])
        // The subscription comes before the tables are read, and that before anything is said.
        let isJSON = arguments.contains("--json")
        for _ in 0..<1000 where isJSON ? !isListening(running.process) : !running.errorsSoFar.contains("watching") {
            usleep(10_000)
        }
        try body()
        kill(running.process, SIGINT)
        let ended = running.wait()
        #expect(ended.exitCode == 0, "\(ended.errors)")
        return ended
    }

    /// A process waits in poll(2) for what it has subscribed to.
    private func isListening(_ process: pid_t) -> Bool {
        TextFile.read("/proc/\(process)/wchan").contains("poll")
    }

    @Test func aBridgeThatIsMadeMeanwhileIsWatchedToo() throws {
        try CommandLineLab.run { lab in
            let seen = try watch(lab, "") {
                try Command.script("ip link add br7 type bridge\nip link set br7 up")
                try lab.lab.addPort("q1")
                try lab.lab.addPort("q2")
                for port in ["q1", "q2"] { try Command.script("ip link set \(port) master br7") }
                for port in ["q1", "q2", "q1"] {
                    try Command.script("bridge fdb replace \(WatchTests.mac) dev \(port) master static")
                }
            }
            #expect(seen.errors.contains("watching br7 too"), "\(seen.errors)")
            #expect(seen.output.contains("br7  \(WatchTests.mac)  q1 -> q2  static"), "\(seen.output)")
        }
    }

    /// A reader that stopped keeps nobody from the end.
    @Test(arguments: [SIGINT, SIGTERM]) func aViewEndsWhileNobodyReadsIt(signal: Int32) throws {
        try CommandLineLab.run { lab in
            let fifo = lab.state + "/fifo"
            mkfifo(fifo, 0o600)
            let reader = open(fifo, O_RDONLY | O_NONBLOCK)
            defer { close(reader) }
            let running = try RunningCommand(
                ["sh", "-c", "exec \(CommandLineLab.binary) watch br0 --json >\(fifo)"],
                environment: ["FDBSTEER_STATE": "/nowhere"])
            for _ in 0..<1000 where !isListening(running.process) { usleep(10_000) }
            // Until the pipe is full, and the program waits for room in it.
            let script = (0..<1500).map { number in
                "fdb replace \(WatchTests.mac) dev \(["tap0", "uplink0"][number % 2]) master static\n"
            }.joined()
            try TextFile.write(script, to: lab.state + "/moves")
            try Command.script("bridge -batch \(lab.state)/moves")
            for _ in 0..<1000 {
                var waiting: Int32 = 0
                _ = ioctl(reader, UInt(FIONREAD), &waiting)
                if waiting > 60_000 { break }
                usleep(10_000)
            }
            kill(running.process, signal)
            let ended = running.wait()
            #expect(ended.exitCode == 74 && ended.errors.contains("cannot be written"), "\(ended.errors)")
        }
    }

    /// The order that users of Harvester report (issue 10653): a guest runs on another host, the port of its target speaks with its MAC
    /// before it is there, the guest goes on, and then arrives.
    @Test(arguments: [false, true])
    func aTargetsPortThatSpeaksBeforeItsGuestIsThereIsNamed(unprivileged: Bool) throws {
        try CommandLineLab.run { lab in
            try BridgeLab.sendFrame(behind: "uplink0", source: WatchTests.mac)
            let seen = try watch(lab, "br0", without: unprivileged) {
                for port in ["tap0", "uplink0", "tap0"] {
                    try BridgeLab.sendFrame(behind: port, source: WatchTests.mac)
                    usleep(50_000)
                }
            }
            let lines = seen.output.split(separator: "\n")
            #expect(lines.count == 5, "\(seen.output)")
            let moves = lines.filter { $0.contains(" -> ") }
            #expect(
                moves.count == 3
                    && moves.allSatisfy { $0.contains("br0  \(WatchTests.mac)  ") && $0.contains("learned") })
            #expect(moves[0].contains("uplink0 -> tap0") && !moves[0].contains("flap"), "\(seen.output)")
            #expect(
                moves[1].contains("tap0 -> uplink0  learned, after ") && moves[1].contains(", flap"), "\(seen.output)")
            #expect(moves[2].contains("; tap0 spoke with it "), "\(seen.output)")
            #expect(
                lines.last?.contains("now on tap0, which spoke with it before it stayed there") == true,
                "\(seen.output)")
        }
    }

    @Test func howAnEntryWasMadeIsTold() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let seen = try watch(lab, "--json") {
                #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
                try Command.script(
                    """
                    bridge fdb del \(WatchTests.mac) dev tap0 master
                    bridge fdb add \(WatchTests.mac) dev uplink0 master extern_learn
                    bridge fdb replace \(WatchTests.mac) dev tap0 master dynamic
                    """)
                usleep(100_000)
            }
            let lines = seen.output.split(separator: "\n")
            #expect(lines.allSatisfy { $0.first == "{" && $0.last == "}" }, "\(seen.output)")
            let origins = lines.filter { $0.contains("\"event\":\"move\"") }.map { line in
                line.firstMatch(of: /"from_port":"(.*?)","port":"(.*?)","origin":"(.*?)","origin_before":"(.*?)"/).map {
                    "\($0.1) \($0.2) \($0.3) \($0.4)"
                } ?? ""
            }
            #expect(
                origins.prefix(2) == ["vfrep0 tap0 static static", "tap0 uplink0 extern_learn static"], "\(seen.output)"
            )
            #expect(lines.last?.contains("\"event\":\"summary\"") == true)
        }
    }

    @Test func twentyThousandChangesASecondAreCountedOrItIsSaidThatSomeWereLost() throws {
        try CommandLineLab.run { lab in
            let macs = (10..<60).map { "52:54:00:00:01:\($0)" }
            let rounds = 400
            let batch = lab.state + "/batch"
            var lines = ""
            for round in 0...rounds {
                for mac in macs {
                    lines += "fdb replace \(mac) dev \(round % 2 == 0 ? "tap0" : "uplink0") master static\n"
                }
            }
            try TextFile.write(lines, to: batch)
            for isUnprivileged in [false, true] {
                let seen = try watch(lab, "--json", without: isUnprivileged) {
                    let written = try Command.run(["bridge", "-batch", batch])
                    #expect(written.exitCode == 0, "\(written.errors)")
                }
                let summary = try #require(seen.output.split(separator: "\n").last)
                func number(_ name: String) -> Int {
                    summary.firstMatch(of: try! Regex("\"\(name)\":(\\d+)")).flatMap {
                        Int($0.output[1].substring ?? "")
                    } ?? -1
                }
                let told = seen.output.split(separator: "\n").count { $0.contains("\"event\":\"move\"") }
                #expect(number("moves") == told, "\(summary)")
                if number("notifications_lost") == 0 {
                    // In the first run the table began without them.
                    #expect(number("moves") == macs.count * rounds, "\(summary)")
                } else {
                    #expect(seen.errors.contains("dropped notifications"), "\(seen.errors)")
                    #expect(number("moves") <= macs.count * (rounds + 1), "\(summary)")
                }
                try Command.script("ip link set tap0 nomaster\nip link set tap0 master br0")
                for mac in macs { _ = try Command.run(["bridge", "fdb", "del", mac, "dev", "uplink0", "master"]) }
            }
        }
    }

    @Test func aBridgeThatIsMistypedIsNamed() throws {
        try CommandLineLab.run { lab in
            try lab.refused("watch br1", code: 3, saying: "br1: there is no bridge of that name", "did you mean br0?")
            try lab.refused("watch vfrep0", code: 3, saying: "there are br0")
            #expect(try lab.fdbsteer("watch br0 --for 50ms").output.contains("0 moves of 0 addresses"))
        }
    }
}
