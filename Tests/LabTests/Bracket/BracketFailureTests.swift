import Glibc
import Lab
import Testing

/// Processes that are killed, and calls that fail, at each step of a bracket.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct BracketFailureTests {
    /// A bracket verb, with the guest's place during the verb and the command that first opens the bracket.
    struct Verb: Sendable, CustomTestStringConvertible {
        let side: String
        let first: String?
        let arguments: String
        let guestAt: String

        var testDescription: String { arguments }

        static let open = "switch vm1 --to standby --strategy bracket"
        static let all = [
            Verb(side: "primary", first: nil, arguments: open, guestAt: "vfrep0"),
            Verb(
                side: "standby", first: nil, arguments: "switch vm1 --to primary --strategy bracket", guestAt: "tap0"),
            Verb(side: "primary", first: open, arguments: "switch vm1 --to standby --close", guestAt: "tap0"),
            Verb(side: "primary", first: open, arguments: "abort vm1", guestAt: "vfrep0"),
        ]
    }

    /// Runs a verb repeatedly. Each run injects into a later call of the given kind, until a run gets past all of them.
    private static func each(
        _ verb: Verb, _ calls: String, _ injection: String, qdisc: String = "",
        _ body: @escaping @Sendable (BracketLab, _ run: Command, _ number: Int) throws -> Void
    ) throws {
        let before: @Sendable () throws -> Void = {
            if !qdisc.isEmpty { try Command.script("tc qdisc add dev tap0 \(qdisc)") }
        }
        try BracketLab.run(at: verb.side, before: before) { lab in
            let none = try lab.leftovers()
            for number in 1...60 {
                if let first = verb.first { try lab.expect(first) }
                let run = try lab.traced(verb.arguments, calls, "\(injection):when=\(number)")
                let isHit = try Command.run(["grep", "-c", "INJECTED\\|killed by SIGKILL", lab.lab.state + "/trace"])
                guard isHit.exitCode == 0 else {
                    // strace counts each of several calls by itself.
                    #expect(run.exitCode == 0 && number > (calls == "sendmsg" ? 4 : 2), "\(run.errors)")
                    return
                }
                try body(lab, run, number)
                // Restore the initial state, whatever happened.
                try lab.expect("abort vm1")
                try lab.expect("switch vm1 --to \(verb.side)")
                #expect(try lab.leftovers() == none)
            }
            Issue.record("\(verb.arguments) makes more than 60 calls of \(calls)")
        }
    }

    /// Every send in every verb, with both ways to copy; every write of the journal in the two most different verbs.
    static let places: [(verb: Verb, calls: String, qdisc: String)] =
        Verb.all.flatMap { [($0, "sendmsg", ""), ($0, "sendmsg", "clsact")] }
        + [Verb.all[0], Verb.all[2]].map { ($0, "pwrite64,renameat", "") }

    @Test func thePortGoesWhileItsRateIsMeasured() throws {
        try CommandLineLab.run { lab in
            try lab.prepare("--kind net_failover")
            for _ in 0..<50 { try BridgeLab.sendFrame(behind: "uplink0", source: "52:54:00:00:00:fe") }
            let command = try Command.run([
                "bash", "-c",
                "(sleep 0.06; ip link del vfrep0) & FDBSTEER_STATE=\(lab.state) exec \(CommandLineLab.binary) switch vm1 "
                    + "--to standby --strategy bracket --bracket-max-rate 100000",
            ])
            #expect(command.exitCode == 3, "\(command.output)\(command.errors)")
            #expect(command.errors.contains("vfrep0"), "\(command.errors)")
            #expect(try lab.fdbsteer("status").output.contains("primary  pinned"))
        }
    }

    @Test(arguments: places)
    func killedAtEachCall(_ place: (verb: Verb, calls: String, qdisc: String)) throws {
        let verb = place.verb
        let calls = place.calls
        try Self.each(verb, calls, "signal=KILL", qdisc: place.qdisc) { lab, run, number in
            #expect(run.exitCode != 0)
            let words = "killed at \(calls) \(number)"
            // Before and after the repair, the guest gets each frame once at its place.
            #expect(try lab.send()[verb.guestAt] == FrameTally.once(20), "\(words)")
            let reconciled = try lab.expect("reconcile")
            let isOpen = try lab.phase() == "bracketed"
            try lab.expect("verify vm1")
            try lab.expectServed(isOpen ? ["vfrep0", "tap0"] : [verb.guestAt], words)
            let hasCopy = try lab.hasCopy()
            #expect(hasCopy == isOpen, "\(words): \(reconciled.output)")
            if isOpen { #expect(reconciled.output.contains("stays open"), "\(reconciled.output)") }
        }
    }

    @Test(arguments: Verb.all)
    func killedAndAborted(verb: Verb) throws {
        try Self.each(verb, "sendmsg", "signal=KILL") { lab, _, number in
            let wasOpen = try lab.phase() == "bracketed"
            try lab.expect("abort vm1")
            #expect(try lab.phase() == "pinned")
            // An abandoned open bracket returns to the side that it came from.
            let port = wasOpen ? (verb.side == "primary" ? "vfrep0" : "tap0") : verb.guestAt
            try lab.expectServed([port], "killed at send \(number)")
            #expect(try !lab.hasCopy())
            try lab.expect("verify vm1")
        }
    }

    @Test(arguments: Verb.all)
    func eachSendThatFailsLeavesItAsItWasOrDone(verb: Verb) throws {
        try Self.each(verb, "sendmsg", "error=ENOBUFS") { lab, run, number in
            let words = "send \(number) failed: \(run.output)\(run.errors)"
            #expect([0, 3, 4, 5].contains(run.exitCode), "\(words)")
            #expect(try lab.send()[verb.guestAt] == FrameTally.once(20), "\(words)")
            if run.exitCode == 5 { try lab.expect("reconcile") }
            let isOpen = try lab.phase() == "bracketed"
            // A failed step is undone: open stays open, closed stays closed.
            if [3, 4].contains(run.exitCode) { #expect(isOpen == (verb.first != nil), "\(words)") }
            try lab.expectServed(isOpen ? ["vfrep0", "tap0"] : [verb.guestAt], words)
            #expect(try lab.hasCopy() == isOpen, "\(words)")
        }
    }
}
