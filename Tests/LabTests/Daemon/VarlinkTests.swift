import Glibc
import JSON
import Lab
import Testing

/// The daemon's local API, beside the command line on the same records.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct VarlinkTests {
    private static let python =
        (getenv("FDBSTEER_LAB_CACHE").map { String(cString: $0) } ?? "/var/cache/fdbsteer-lab") + "/python/bin/python3"

    @Test func aSwitchIsThatOfTheCommandLine() throws {
        try DaemonLab.run { daemon in
            let lab = daemon.lab
            try lab.prepare()
            let client = try VarlinkClient(lab)
            let answer = try client.answer("Switch", #"{"guests":["vm1"],"to":"standby"}"#)
            #expect(try lab.lab.entry(CommandLineLab.mac)?.contains("tap0") == true)
            let command = try lab.fdbsteer("switch vm1 --to primary --json")
            let members = { (json: JSON?) in Set((json?.members ?? []).map(\.name)) }
            // The local API has a version of its own.
            let expected = members(JSON(text: command.output)).subtracting(["schema"])
            #expect(members(answer) == expected, "\(answer)\n\(command.output)")
            let history = try client.answer("History", #"{"guest":"vm1"}"#)["history"]?.elements ?? []
            #expect(history.map { $0["by"]?.text } == ["fdbsteer switch", "fdbsteerd switch", "fdbsteer prepare"])
            #expect(history.allSatisfy { $0["uid"]?.integer == Int64(getuid()) })
            // Where it is already nothing is done, and two guests have a list.
            #expect(try client.answer("Switch", #"{"guests":["vm1"],"to":"primary"}"#)["outcome"]?.text == "already")
            #expect(try client.answer("Verify")["guests"]?.elements?.first?["ok"] == .bool(true))
        }
    }

    /// Sockets, groups, journal and records are kept from one call to the next. What others change meanwhile counts all the same.
    @Test func whatOthersChangeBetweenTwoCallsCounts() throws {
        try DaemonLab.run { daemon in
            let lab = daemon.lab
            try lab.prepare()
            let client = try VarlinkClient(lab)
            func move(_ side: String) throws -> JSON {
                try client.answer("Switch", #"{"guests":["vm1"],"to":"\#(side)"}"#)
            }
            for side in ["standby", "primary", "standby"] { #expect(try move(side)["outcome"]?.text == "done") }
            // A group that the guest has joined since.
            try Command.script("bridge mdb add dev br0 port tap0 grp 239.1.1.1 temp")
            #expect(try move("primary")["group_memberships_moved"]?.integer == 1)
            #expect(try lab.portGroups().contains { $0.contains("port vfrep0") && $0.contains("239.1.1.1") })
            // The record.
            #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
            #expect(try move("standby")["outcome"]?.text == "already")
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
            let unknown = try client.call("Switch", #"{"guests":["vm1"],"to":"standby"}"#)
            #expect(unknown["parameters"]?["message"]?.text?.contains("vm1 is not known") == true, "\(unknown)")
            try lab.prepare("--address 52:54:00:00:00:02")
            #expect(try move("standby")["addresses"]?.elements?.count == 2)
            // A port that is down.
            try Command.script("ip link set vfrep0 down")
            let down = try client.call("Switch", #"{"guests":["vm1"],"to":"primary"}"#)
            #expect(down["error"]?.text == "io.fdbsteer.Failed", "\(down)")
        }
    }

    @Test func anExclusivePortNamesTheAddresses() throws {
        try DaemonLab.run { daemon in
            try BridgeLab.sendFrame(behind: "tap0", source: "52:54:00:00:07:01")
            let client = try VarlinkClient(daemon.lab)
            let guest = #""guest":"vm7","bridge":"br0","primary":"vfrep0","standby":"tap0","leak":"allow""#
            for parameters in ["{\(guest)}", #"{\#(guest),"exclusive":"tap0","addresses":["52:54:00:00:07:01"]}"#] {
                let refused = try client.call("Prepare", parameters)
                #expect(refused["parameters"]?["code"]?.text == "usage", "\(refused)")
            }
            _ = try client.answer("Prepare", #"{\#(guest),"exclusive":"tap0"}"#)
            #expect(try daemon.lab.lab.entry("52:54:00:00:07:01")?.contains("dev tap0 master br0 static") == true)
        }
    }

    @Test func whatIsWrongIsToldWithCodeAndRemedy() throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare()
            let before = try daemon.lab.table()
            let client = try VarlinkClient(daemon.lab)
            let failures: [(method: String, parameters: String, code: String, words: String)] = [
                ("Switch", #"{"guests":["vm2"],"to":"standby"}"#, "precondition", "guest vm2 is not known"),
                ("Switch", #"{"guests":["v m"],"to":"standby"}"#, "usage", "v m"),
                ("Switch", #"{"to":"standby"}"#, "usage", "no guest is named"),
                ("Switch", #"{"guests":["vm1"],"to":"local"}"#, "precondition", "local"),
                ("Switch", #"{"guests":["vm1"],"to":"standby","until":["word"]}"#, "usage", "waits for no word"),
                (
                    "Switch", #"{"guests":["vm1"],"to":"standby","until":["command:/bin/true"]}"#, "usage",
                    "waits for no"
                ),
                ("Switch", #"{"guests":["vm1"],"to":"standby","timeout":"1"}"#, "usage", "timeout is"),
                ("Switch", #"{"guests":["vm1"],"to":"standby","observe":"2h"}"#, "usage", "observe is"),
                (
                    "Prepare", #"{"guest":"a","bridge":"br0","addresses":["52:54:00:00:00:09"],"standby":"tap0"}"#,
                    "usage", "VF"
                ),
                ("Verify", #"{"guests":["vm2"]}"#, "precondition", "vm2"),
                ("History", #"{"outcome":["best"]}"#, "usage", "best is no outcome"),
            ]
            for (method, parameters, code, words) in failures {
                let reply = try client.call(method, parameters)
                #expect(reply["error"]?.text == "io.fdbsteer.Failed", "\(reply)")
                #expect(reply["parameters"]?["code"]?.text == code, "\(parameters): \(reply)")
                #expect(reply["parameters"]?["message"]?.text?.contains(words) == true, "\(parameters): \(reply)")
                #expect(reply["parameters"]?["exit_code"]?.integer == (code == "usage" ? 64 : 3), "\(reply)")
            }
            let wrong: [(method: String, parameters: String, error: String)] = [
                ("Switch", #"{"guests":"vm1","to":"standby"}"#, "InvalidParameter"),
                ("Switch", #"{"guests":["vm1"],"to":"sideways"}"#, "InvalidParameter"),
                ("Switch", #"{"guests":["vm1"]}"#, "InvalidParameter"),
                ("Switch", #"{"guests":["vm1"],"to":"standby","now":true}"#, "InvalidParameter"),
                ("Probe", "{}", "MethodNotFound"), ("io.other.Switch", "{}", "InterfaceNotFound"),
                ("Monitor", "{}", "ExpectedMore"),
            ]
            for (method, parameters, error) in wrong {
                let reply = try client.call(method, parameters)
                #expect(reply["error"]?.text == "org.varlink.service.\(error)", "\(parameters): \(reply)")
            }
            #expect(try daemon.lab.table() == before)
        }
    }

    /// A wait holds neither the loop nor other calls, nor the guest; it ends with its client, or by an abort.
    @Test func aWaitEndsWithItsClientAndHoldsNobody() throws {
        try DaemonLab.run { daemon in
            let lab = daemon.lab
            try lab.prepare()
            let until = #"{"guests":["vm1"],"to":"standby","until":["carrier:uplink0=down"],"timeout":"10min"}"#
            func isWaiting(_ client: VarlinkClient) throws -> Bool {
                try client.answer("Status")["guests"]?.elements?.first?["wait"]?["goal"]?.text == "standby"
            }
            let other = try VarlinkClient(lab)
            func wait(_ awaited: Bool) throws {
                for _ in 0..<3000 {
                    if try isWaiting(other) == awaited { return }
                    usleep(10_000)
                }
                throw LabError("the wait does not \(awaited ? "begin" : "end")")
            }
            var waiting: VarlinkClient? = try VarlinkClient(lab)
            waiting?.begin("Switch", until)
            try wait(true)
            try Command.script("bridge fdb del \(CommandLineLab.mac) dev vfrep0 master")
            try daemon.waitFor("repaired")
            waiting = nil
            try wait(false)
            #expect(try lab.lab.entry(CommandLineLab.mac)?.contains("vfrep0") == true)

            let second = try VarlinkClient(lab)
            second.begin("Switch", until)
            try wait(true)
            let abort = try lab.fdbsteer("abort vm1")
            #expect(
                abort.exitCode == 0 && abort.output.contains("waits for carrier:uplink0=down no longer"), "\(abort)")
            let error = try #require(try second.reply())
            #expect(error["parameters"]?["message"]?.text?.contains("was aborted") == true, "\(error)")

            second.begin("Switch", until)
            try wait(true)
            try Command.script("ip link set uplink0-far down")
            let answer = try #require(try second.reply()?["parameters"]?["answer"])
            #expect(answer["sighting"]?["signal"]?.text == "carrier:uplink0=down", "\(answer)")
            #expect(try lab.lab.entry(CommandLineLab.mac)?.contains("tap0") == true)
        }
    }

    @Test func monitorTellsWhatHappens() throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare()
            let client = try VarlinkClient(daemon.lab)
            client.begin("Monitor", #"{"guests":["vm1"],"last":1}"#, more: true)
            let first = try #require(try client.reply())
            #expect(first["parameters"]?["event"]?["verb"]?.text == "prepare" && first["continues"] == .bool(true))
            #expect(try daemon.lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
            #expect(try client.reply()?["parameters"]?["event"]?["to"]?.text == "standby")
        }
    }

    /// Others get nothing, the folder's group gets the verbs, and the history names the user.
    @Test(.enabled(if: getuid() == 0, "needs root: files of other groups"))
    func permissions() throws {
        try CommandLineLab.run(flooding: false) { lab in
            try Command.script("chgrp 54321 \(lab.state)")
            try Command.script("chmod 2750 \(lab.state)")
            try DaemonLab.run(in: lab) { daemon in
                try lab.prepare()
                let socket = lab.state + "/io.fdbsteer"
                #expect(
                    try Command.run(["stat", "-c", "%a %u %g", socket]).output == "660 0 54321\n")
                // Debian's own, which every user may run.
                let program = #"""
                    $/ = "\0"; my $s = IO::Socket::UNIX->new($ARGV[0]) or die "$!\n";
                    print $s qq({"method":"io.fdbsteer.$ARGV[1]","parameters":{$ARGV[2]}}\0);
                    print scalar <$s>
                    """#
                func call(
                    groups: String = "--groups=54321", _ method: String = "Switch",
                    _ parameters: String = #""guests":["vm1"],"to":"standby""#
                ) throws -> Command {
                    try Command.run([
                        "setpriv", "--reuid=65533", "--regid=65533", groups, "/usr/bin/perl", "-MIO::Socket::UNIX",
                        "-e", program, socket, method, parameters,
                    ])
                }
                let stranger = try call(groups: "--clear-groups")
                #expect(stranger.exitCode != 0 && stranger.errors.contains("Permission denied"), "\(stranger)")
                #expect(try lab.lab.entry(CommandLineLab.mac)?.contains("vfrep0") == true)
                // What would reach further than guests' frames is root's.
                let monitor = try call("Switch", #""guests":["vm1"],"to":"standby","until":["qmp:/run/vm1.qmp:STOP"]"#)
                #expect(monitor.output.contains("only root may have fdbsteerd talk to a monitor"), "\(monitor)")
                let neighbour = try call(
                    "Prepare",
                    #""guest":"vm2","bridge":"br0","port":"tap0","addresses":["52:54:00:00:00:02"],"#
                        + #""ip":["192.0.2.1"],"neighbour":["br0"]"#)
                #expect(neighbour.output.contains("only root may have neighbours follow a guest"), "\(neighbour)")
                // Root has called on what the member's call is run on.
                _ = try VarlinkClient(lab).answer("Switch", #"{"guests":["vm1"],"to":"primary"}"#)
                let member = try call()
                #expect(member.exitCode == 0 && member.output.contains("\"outcome\":\"done\""), "\(member)")
                #expect(try lab.lab.entry(CommandLineLab.mac)?.contains("tap0") == true)
                let history = try lab.fdbsteer("history vm1 --limit 1").output
                #expect(history.contains("fdbsteerd switch (uid 65533)"), "\(history)")
            }
        }
    }

    @Test(.enabled(if: access(VarlinkTests.python, X_OK) == 0, "scripts/setup tests could not install PyPI's varlink"))
    func aClientThatNobodyHereWroteCallsEveryMethod() throws {
        try DaemonLab.run(flooding: true) { daemon in
            let command = try Command.run([
                VarlinkTests.python, Checkout.path + "/Tests/Peers/varlink_verbs.py", daemon.lab.state + "/io.fdbsteer",
            ])
            #expect(command.exitCode == 0, "\(command.output)\(command.errors)\(daemon.log)")
            #expect(command.output.split(separator: "\n").count == 14, "\(command.output)")
        }
    }
}
