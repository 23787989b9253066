import Glibc
import JSON
import Lab
import Testing

/// What the daemon's log looks like, and which level means what.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct LogTests {
    /// Splits a line of logfmt into its pairs; nil when it is none.
    private func pairs(_ line: Substring) -> [(key: String, value: String)]? {
        var pairs: [(key: String, value: String)] = []
        var rest = line
        while !rest.isEmpty {
            guard let match = rest.prefixMatch(of: /([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "=]*)(?: |$)/) else { return nil }
            pairs.append((String(match.1), String(match.2)))
            rest = rest[match.range.upperBound...]
        }
        return pairs
    }

    /// Something happens of each kind: a start, a repair, a condition, a lost primary, and the end.
    private func happen(_ daemon: DaemonLab) throws {
        try daemon.lab.prepare()
        try Command.script("bridge fdb del \(CommandLineLab.mac) dev vfrep0 master")
        try daemon.waitFor("repaired")
        try Command.script("ip link set tap0-far down")
        try daemon.waitFor("no-carrier")
        try Command.script("ip link set tap0-far up")
        try daemon.waitFor("condition over")
        try Command.script("ip link del vfrep0")
        try daemon.waitFor("redirected")
    }

    @Test func eachLineIsLogfmt() throws {
        try DaemonLab.run { daemon in
            try happen(daemon)
            let lines = daemon.log.split(separator: "\n")
            for line in lines {
                let keys = pairs(line)?.map(\.key) ?? []
                #expect(keys.prefix(3) == ["time", "level", "msg"], "\(line)")
                #expect(keys.dropFirst(3).elementsEqual(keys.dropFirst(3).sorted()), "\(line)")
            }
            let first = try #require(lines.first.flatMap(pairs))
            #expect(first.map(\.key) == ["time", "level", "msg", "namespace", "state", "version"], "\(lines[0])")
            #expect(first[2].value == "starting" && first[4].value == daemon.lab.state, "\(lines[0])")
            // What begins to be wrong, and the loss of a primary, is a warning or worse; what ends is none.
            for line in lines where line.contains("msg=redirected") {
                #expect(line.contains("level=warning"), "\(line)")
            }
            for line in lines where line.contains("condition over") {
                #expect(line.contains("level=notice"), "\(line)")
            }
            #expect(lines.contains { $0.contains("level=warning msg=condition code=no-carrier") }, "\(daemon.log)")
        }
    }

    @Test func eachLineIsAnObjectWhereTheConfigurationSaysSo() throws {
        try DaemonLab.run(configuration: "[log]\nformat = \"json\"\n") { daemon in
            try happen(daemon)
            for line in daemon.log.split(separator: "\n") {
                let event = try #require(JSON(text: String(line)), "\(line)")
                #expect(
                    event["time"]?.text != nil && event["level"]?.text != nil && event["msg"]?.text != nil, "\(line)")
            }
        }
    }

    @Test func underTheJournalALineBeginsWithItsPriority() throws {
        try CommandLineLab.run { lab in
            // It cannot make its folder.
            let ended = try Command.run(
                [CommandLineLab.products + "/fdbsteerd", "--state", "/nowhere/deep"],
                environment: ["JOURNAL_STREAM": "1:2"])
            #expect(ended.exitCode == 3)
            let lines = ended.errors.split(separator: "\n")
            #expect(lines.count == 2 && lines[0].hasPrefix("<5>level=notice msg=starting "), "\(ended.errors)")
            #expect(lines.last?.hasPrefix("<2>level=critical msg=ended error=") == true, "\(ended.errors)")
        }
    }
}
