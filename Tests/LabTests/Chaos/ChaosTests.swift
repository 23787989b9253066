import Glibc
import JSON
import Lab
import Testing

/// The rules of `fdbsteer-bench chaos`, on programs that break them.
@Suite(.serialized, .enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct ChaosTests {
    /// A program that misbehaves in one way, and the rule that does not hold then.
    struct Fault: Sendable, CustomStringConvertible {
        let rule: String
        /// Shell commands, run before the real program, which is `$real`.
        let script: String

        var description: String { rule }
    }

    static let faults = [
        Fault(rule: "crash", script: "[ $1 = prepare ] && kill -SEGV $$"),
        Fault(rule: "silence", script: "[ $1 = prepare ] && exit 3"),
        Fault(rule: "bound", script: "[ $1 = prepare ] && exec sleep 60"),
        Fault(rule: "code", script: "[ $1 = prepare ] && { echo refused >&2; exit 3; }"),
        Fault(rule: "foreign", script: "[ $1 = prepare ] && bridge link set dev nb0 flood off"),
        Fault(rule: "release", script: "[ $1 = release ] && { echo '{}'; exit 0; }"),
        Fault(
            rule: "entry",
            script: """
                mac=52:54:00:c4:00:00
                [ $1 = prepare ] && { "$real" "$@"; code=$?; for port in vf0 tap0 up0; do
                    bridge fdb del $mac dev $port master; done 2>/dev/null; exit $code; }
                [ $1 = verify ] && { echo '{"problems": []}'; exit 0; }
                """),
    ]

    /// Verbs alone.
    static let plain = [
        "port", "bridge", "kill", "daemon", "monitor", "folder", "wait", "others", "frames", "verb two at once",
    ]
    .flatMap { ["--without", $0] }

    /// Runs chaos with a program in the place of fdbsteer, and returns the results.
    private func run(_ script: String, _ options: String) throws -> (command: Command, results: JSON) {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let products = CommandLineLab.products
        try Command.script(
            "cp \(products)/fdbsteer-bench \(folder.path)/fdbsteer-bench\nln -s \(products)/fdbsteerd \(folder.path)/fdbsteerd"
        )
        try TextFile.write(
            "#!/bin/sh\nreal='\(products)/fdbsteer'\n\(script)\nexec \"$real\" \"$@\"\n", to: folder.path + "/fdbsteer",
            mode: 0o755)
        let file = folder.path + "/results.json"
        let command = try Command.run(
            ["\(folder.path)/fdbsteer-bench", "chaos", "--json", file] + options.split(separator: " ").map(String.init)
                + ChaosTests.plain)
        return (command, try #require(JSON(text: TextFile.read(file)), "\(command.output)\(command.errors)"))
    }

    @Test(arguments: faults)
    func aProgramThatBreaksARuleIsFoundOut(_ fault: Fault) throws {
        let (command, results) = try run(fault.script, "--seed 4 --episode 0 --length 30 --reduce 0")
        #expect(command.exitCode == 1, "\(command.output)")
        let rules = results["violations"]?.elements?.compactMap { $0["rule"]?.text }
        #expect(rules == [fault.rule], "\(command.output)")
    }

    @Test func aFailingSequenceIsMadeShortAndCanBeRepeated() throws {
        let crash = "[ $1 = prepare ] && kill -SEGV $$"
        let (first, results) = try run(crash, "--seed 4 --episode 0 --length 30 --reduce 60")
        let violation = try #require(results["violations"]?.elements?.first, "\(first.output)")
        #expect(violation["is_reproduced"]?.bool == true, "\(first.output)")
        let steps = violation["steps"]?.elements?.compactMap(\.integer) ?? []
        #expect(steps.count == 1, "\(first.output)")
        let only = steps.map(String.init).joined(separator: ",")
        #expect(first.output.contains("--seed 4 --length 30 --episode 0 --only \(only)"), "\(first.output)")
        let (again, repeated) = try run(crash, "--seed 4 --episode 0 --length 30 --reduce 0 --only \(only)")
        #expect(again.exitCode == 1, "\(again.output)")
        #expect(repeated["violations"]?.elements?.first?["rule"]?.text == "crash", "\(again.output)")
    }

    @Test func aSeedMeansTheSameOperations() throws {
        let options = "--seed 9 --episode 2 --length 8 --reduce 0"
        let one = try run("", options).results["operations"]
        #expect(one?.members?.isEmpty == false)
        #expect(try run("", options).results["operations"] == one)
    }
}
