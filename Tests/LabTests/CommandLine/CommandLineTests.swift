import Glibc
import Lab
import Testing

/// The command line against the running kernel, from start to finish.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct CommandLineTests {
    @Test func thereAndBack() throws {
        try CommandLineLab.run { lab in
            let mac = CommandLineLab.mac
            try BridgeLab.sendFrame(behind: "vfrep0", source: mac)
            let before = try lab.table()
            let prepare =
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --address \(mac)"
            let planned = try lab.fdbsteer(prepare + " --dry-run")
            #expect(planned.output.contains("bridge link set dev vfrep0 learning off"))
            #expect(planned.output.contains("bridge link set dev vfrep0 backup_port tap0"))
            #expect(planned.output.contains("bridge fdb replace \(mac) dev vfrep0 master static"))
            #expect(try lab.table() == before)
            #expect(access(lab.state + "/guests", F_OK) != 0, "a dry run wrote a journal")

            #expect(try lab.fdbsteer(prepare).exitCode == 0)
            #expect(try lab.lab.entry(mac)?.contains("dev vfrep0 master br0 static") == true)
            #expect(try lab.fdbsteer(prepare).output.contains("already"))
            #expect(try lab.fdbsteer("verify vm1").output.contains("software bridge: nothing to prove"))
            for (side, port) in [("standby", "tap0"), ("remote", "uplink0"), ("primary", "vfrep0")] {
                let moved = try lab.fdbsteer("switch vm1 --to \(side)")
                #expect(moved.exitCode == 0, "\(moved.errors)")
                #expect(try lab.lab.entry(mac)?.contains("dev \(port) master br0 static") == true)
                let again = try lab.fdbsteer("switch vm1 --to \(side)")
                #expect(again.exitCode == 0 && again.output.contains("already on \(side)"))
                #expect(try lab.fdbsteer("verify vm1").exitCode == 0)
            }
            #expect(try lab.fdbsteer("abort vm1").exitCode == 0)
            #expect(try lab.fdbsteer("status vm1 --json").output.contains("\"side\" : \"primary\""))
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
            // The entry is learned again at its old place, and learning is on again: as before, except for ages.
            #expect(try lab.table() == before)
            #expect(try lab.fdbsteer("status").output.contains("no guest"))
            let history = try lab.fdbsteer("history vm1").output
            #expect(history.split(separator: "\n").count == 6, "\(history)")
        }
    }

    @Test func theHistoryTellsWhatAChangeTicketWants() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            #expect(try lab.fdbsteer("switch vm1 --to standby --observe 1s").exitCode == 0)
            let report = try lab.fdbsteer("history vm1 --report")
            #expect(report.exitCode == 0, "\(report.errors)")
            for words in [
                "switch of vm1 on br0, primary -> standby", "\(CommandLineLab.mac) to tap0 by replace",
                "software bridge: nothing to prove", "primary vfrep0: +", "standby tap0: +", "remote uplink0: +",
                "no port dropped a frame", "left by the old port vfrep0", "how sure:",
            ] {
                #expect(report.output.contains(words), "\(report.output)")
            }
            // Frames that leave through the old port after the move are counted: a flood while it is watched.
            let sender = try RunningCommand([
                CommandLineLab.products + "/fdbsteer-bench", "send", "--interface", BridgeLab.far("uplink0"),
                "--destination", "ff:ff:ff:ff:ff:ff", "--rate", "1000", "--seconds", "2",
            ])
            usleep(500_000)
            #expect(try lab.fdbsteer("switch vm1 --to primary --observe 300ms").exitCode == 0)
            #expect(sender.wait().exitCode == 0)
            let json = try lab.fdbsteer("history vm1 --report --json").output
            #expect(json.contains("\"became_quiet\" : false"), "\(json)")
            let flooded = try lab.fdbsteer("history vm1 --report").output
            #expect(!flooded.contains("nothing left by the old port"), "\(flooded)")
            #expect(try lab.fdbsteer("history vm1 --report --number 1").output.contains("prepare of vm1"))
            #expect(try lab.fdbsteer("history --number 99").exitCode == 3)
            try Command.script("ip link set tap0 mtu 1400")
            #expect(try lab.fdbsteer("switch vm1 --to standby --waive mtu-smaller").exitCode == 0)
            let waived = try lab.fdbsteer("history vm1 --report").output
            #expect(waived.contains("waived: loses mtu-smaller tap0"), "\(waived)")
        }
    }

    @Test func aLateFrameOnTheOldPathDoesNotMoveAPinnedEntry() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
            try BridgeLab.sendFrame(behind: "vfrep0", source: CommandLineLab.mac)
            #expect(try lab.lab.entry(CommandLineLab.mac)?.contains("dev tap0") == true)
        }
    }

    @Test func portsThatServeOthersKeepLearning() throws {
        try CommandLineLab.run { lab in
            try BridgeLab.sendFrame(behind: "tap0", source: "52:54:00:00:00:77")
            let prepared = try lab.prepare()
            #expect(prepared.output.contains("52:54:00:00:00:77 lives behind it"))
            #expect(try lab.lab.entry(CommandLineLab.mac)?.contains("sticky") == true)
            #expect(try Command.run(["bridge", "-d", "link", "show"]).output.contains("learning off") == false)
            #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
            try BridgeLab.sendFrame(behind: "vfrep0", source: CommandLineLab.mac)
            #expect(try lab.lab.entry(CommandLineLab.mac)?.contains("dev tap0") == true)
            #expect(try lab.fdbsteer("release vm1").exitCode == 0)
            #expect(try lab.lab.entry(CommandLineLab.mac)?.contains("sticky") == false)
        }
    }

    @Test func sixtyFourAddressesGoInOneSend() throws {
        try CommandLineLab.run { lab in
            let addresses = (0..<64).map { "--address 52:54:00:00:01:" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }
            let prepare = try lab.fdbsteer(
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --at primary "
                    + addresses.joined(separator: " "))
            #expect(prepare.exitCode == 0, "\(prepare.errors)")
            let trace = lab.state + "/trace"
            let command = try Command.run(
                [
                    "strace", "-f", "-e", "trace=sendmsg", "-s", "4096", "-o", trace, CommandLineLab.binary, "switch",
                    "vm1", "--to", "standby",
                ], environment: ["FDBSTEER_STATE": lab.state])
            #expect(command.exitCode == 0, "\(command.errors)")
            let sends = try Command.run(["grep", "-c", "RTM_NEWNEIGH.*NLM_F_CREATE", trace]).output
            #expect(sends == "1\n", "the 64 moves took \(sends) sends")
            let moved = try Command.run(["bridge", "fdb", "show", "br", "br0"]).output.split(separator: "\n")
            #expect(moved.count { $0.contains("52:54:00:00:01") && $0.contains("dev tap0") } == 64)
        }
    }

    @Test func aFailureInTheMiddleRollsTheOthersBack() throws {
        try CommandLineLab.run { lab in
            let addresses = (0..<9).map { "--address 52:54:00:00:01:0\($0)" }.joined(separator: " ")
            _ = try lab.fdbsteer(
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --at primary \(addresses)")
            let before = try lab.table()
            // Between the move and the re-read another program moves one of the entries to a third port, as sticky. The sixth
            // send is
            // the move: probe, ports, entries, groups, counters, move, counters; the eighth is the re-read, which is delayed.
            let running = try RunningCommand(
                [
                    "strace", "-f", "-o", lab.state + "/trace", "-e", "trace=sendmsg", "-e",
                    "inject=sendmsg:delay_enter=1500000:when=8", CommandLineLab.binary, "switch", "vm1", "--to",
                    "standby",
                ], environment: ["FDBSTEER_STATE": lab.state])
            var taken = false
            for _ in 0..<600 where !taken {
                usleep(5000)
                guard try lab.lab.entry("52:54:00:00:01:04")?.contains("tap0") == true else { continue }
                try Command.script("bridge fdb replace 52:54:00:00:01:04 dev uplink0 master static sticky")
                taken = true
            }
            #expect(taken)
            let command = running.wait()
            #expect(command.exitCode == 4, "\(command.output)\(command.errors)")
            #expect(command.errors.contains("52:54:00:00:01:04: the change did not hold"))
            // The others are as before; the taken entry belongs to its new owner.
            try Command.script("bridge fdb replace 52:54:00:00:01:04 dev vfrep0 master static")
            #expect(try lab.table() == before)
            #expect(try lab.fdbsteer("status vm1 --json").output.contains("\"side\" : \"primary\""))
            #expect(try lab.fdbsteer("verify vm1").exitCode == 0)
            #expect(try lab.fdbsteer("history vm1").output.contains("rolled_back"))
        }
    }

    @Test func anEntryThatBecameStickyStopsTheSwitch() throws {
        try CommandLineLab.run { lab in
            try lab.prepare("--address 52:54:00:00:00:02")
            try Command.script("bridge fdb replace 52:54:00:00:00:02 dev vfrep0 master static sticky")
            try lab.refused("switch vm1 --to standby", code: 3, saying: "52:54:00:00:00:02", "sticky")
        }
    }

    @Test func aPortThatLeavesDuringTheMoveIsRolledBack() throws {
        try CommandLineLab.run { lab in
            try lab.prepare("--address 52:54:00:00:00:02")
            let before = try lab.table()
            let running = try RunningCommand(
                [
                    "strace", "-f", "-o", lab.state + "/trace", "-e", "trace=sendmsg", "-e",
                    "inject=sendmsg:delay_enter=1500000:when=6", CommandLineLab.binary, "switch", "vm1", "--to",
                    "standby",
                ], environment: ["FDBSTEER_STATE": lab.state])
            usleep(700_000)
            try Command.script("ip link set tap0 nomaster")
            let command = running.wait()
            #expect(command.exitCode == 4, "\(command.output)\(command.errors)")
            #expect(command.errors.contains("refused the change"))
            // The kernel lost these with the port: its learning setting, and its role as the primary's backup.
            try Command.script(
                "ip link set tap0 master br0\nbridge link set dev tap0 learning off\n"
                    + "bridge link set dev vfrep0 backup_port tap0")
            #expect(try lab.table() == before)
        }
    }

    @Test func aKilledSwitchIsSeenAndAborted() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let killed = try Command.run(
                [
                    "strace", "-f", "-o", lab.state + "/trace", "-e", "trace=sendmsg", "-e",
                    "inject=sendmsg:signal=KILL:when=8", CommandLineLab.binary, "switch", "vm1", "--to", "standby",
                ],
                environment: ["FDBSTEER_STATE": lab.state])
            #expect(killed.exitCode != 0)
            #expect(try lab.lab.entry(CommandLineLab.mac)?.contains("tap0") == true)
            #expect(try lab.fdbsteer("status").output.contains("process gone"))
            #expect(try lab.fdbsteer("verify vm1").exitCode == 3)
            let abort = try lab.fdbsteer("abort vm1")
            #expect(abort.exitCode == 0, "\(abort.errors)")
            #expect(try lab.lab.entry(CommandLineLab.mac)?.contains("vfrep0") == true)
            #expect(try lab.fdbsteer("verify vm1").exitCode == 0)
        }
    }

    @Test func twoAtOnceDoNotMix() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            let running = try RunningCommand(
                [
                    "strace", "-f", "-o", lab.state + "/trace", "-e", "trace=sendmsg", "-e",
                    "inject=sendmsg:delay_enter=1500000:when=6", CommandLineLab.binary, "switch", "vm1", "--to",
                    "standby",
                ], environment: ["FDBSTEER_STATE": lab.state])
            usleep(700_000)
            let second = try lab.fdbsteer("switch vm1 --to remote")
            #expect(second.exitCode == 8, "\(second.output)\(second.errors)")
            #expect(try lab.fdbsteer("status").output.contains("switching to standby"))
            #expect(running.wait().exitCode == 0)
            #expect(try lab.lab.entry(CommandLineLab.mac)?.contains("tap0") == true)
        }
    }

    @Test func worksForAnUnprivilegedUserInNamespacesOfItsOwn() throws {
        let temporary = try TemporaryFolder()
        defer { temporary.remove() }
        let folder = temporary.path
        // The user may not be allowed to read the folder of the test build.
        let binary = folder + "/fdbsteer"
        try Command.script(
            "cp \(CommandLineLab.binary) \(binary)\nchmod 755 \(folder) \(binary)\nmkdir -m 700 \(folder)/state\n"
                + "chown 65534:65534 \(folder)/state")
        let script = """
            set -e
            ip link set lo up; ip link add br0 type bridge; ip link set br0 up
            for port in vfrep0 tap0; do
                ip link add $port type veth peer name $port-far
                ip link set $port addrgenmode none; ip link set $port-far addrgenmode none
                ip link set $port master br0 up; ip link set $port-far up
            done
            \(binary) prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --at primary --address 52:54:00:00:00:01
            \(binary) switch vm1 --to standby
            bridge fdb show br br0 | grep 52:54:00:00:00:01
            """
        let environment = ["FDBSTEER_STATE": folder + "/state"]
        let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        let inside = try Command.run(
            user + ["unshare", "-Urn", "sh", "-c", script], environment: environment)
        #expect(inside.exitCode == 0, "\(inside.output)\(inside.errors)")
        #expect(inside.output.contains("dev tap0 master br0 static"))

        // Without privilege over the namespace it names the missing one, and changes nothing.
        try Namespace.run {
            _ = try BridgeLab()
            let outside = try Command.run(
                user + [
                    binary, "prepare", "vm2", "--bridge", "br0", "--primary", "vfrep0", "--standby", "tap0", "--at",
                    "primary", "--address", "52:54:00:00:00:02",
                ], environment: environment)
            #expect(outside.exitCode == 3, "\(outside.output)\(outside.errors)")
            #expect(outside.errors.contains("CAP_NET_ADMIN"))
            #expect(outside.errors.contains("EPERM"))
        }
    }
}
