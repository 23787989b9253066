import Glibc
import Lab
import Testing

/// fdbsteerd against the running kernel.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct DaemonTests {
    @Test func driftIsRepaired() throws {
        try DaemonLab.run { daemon in
            let mac = CommandLineLab.mac
            try daemon.lab.prepare()
            let before = try daemon.lab.table()
            for (attack, cause) in [
                ("bridge fdb replace \(mac) dev tap0 master static", "stolen"),
                ("bridge fdb del \(mac) dev vfrep0 master", "removed"),
                ("bridge fdb replace \(mac) dev vfrep0 master dynamic", "weakened"),
                ("bridge fdb replace \(mac) dev vfrep0 master static sticky", "weakened"),
                ("bridge link set dev vfrep0 learning on", "port"),
                ("bridge link set dev vfrep0 nobackup_port", "port"),
            ] {
                let repairs = daemon.count("repaired")
                try Command.script(attack)
                try daemon.waitFor("repaired", times: repairs + 1)
                let last = daemon.log.split(separator: "\n").last { $0.contains("repaired") }
                #expect(last?.contains("cause=\(cause)") == true, "\(daemon.log)")
                #expect(last?.contains(" found_on=tap0 ") == (cause == "stolen"), "\(daemon.log)")
                #expect(try daemon.lab.table() == before, "\(attack)")
            }
            #expect(try daemon.lab.fdbsteer("verify vm1").exitCode == 0)
            #expect(try daemon.lab.fdbsteer("history vm1").output.contains("repair"))
            let events = try daemon.lab.fdbsteer("monitor vm1 --last 20 --for 1ms").output
            for reason in ["stolen, found on tap0", "removed", "weakened", "port"] {
                #expect(events.contains("by the daemon: \(reason)\n"), "\(events)")
            }
        }
    }

    @Test func theCommandLinesChangesAreNoDrift() throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare("--address 52:54:00:00:00:02 --address 52:54:00:00:00:03")
            for _ in 0..<20 {
                for side in ["standby", "remote", "primary"] {
                    #expect(try daemon.lab.fdbsteer("switch vm1 --to \(side)").exitCode == 0)
                }
            }
            #expect(try daemon.lab.fdbsteer("release vm1").exitCode == 0)
            try daemon.lab.prepare()
            // An event that it must notice, after all those that it must ignore.
            try Command.script("bridge fdb del \(CommandLineLab.mac) dev vfrep0 master")
            try daemon.waitFor("repaired")
            #expect(daemon.count("repaired") == 1, "\(daemon.log)")
            #expect(daemon.count("redirected") == 0 && daemon.count("recovered") == 0, "\(daemon.log)")
        }
    }

    @Test func aGuestWithoutAReaderThatSpeaksByTheUplinkHasLeft() throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare()
            #expect(try daemon.lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
            try Command.script("ip link set tap0-far down")
            try BridgeLab.sendFrame(behind: "uplink0", source: CommandLineLab.mac)
            try daemon.waitFor("redirected")
            try daemon.waitForEntry("dev uplink0 master br0 static")
            #expect(try daemon.lab.fdbsteer("status vm1 --json").output.contains("\"side\" : \"remote\""))
            // From now on the guest's frames from the uplink are as recorded.
            try BridgeLab.sendFrame(behind: "uplink0", source: CommandLineLab.mac)
            #expect(try daemon.lab.fdbsteer("verify vm1").exitCode == 0)
            #expect(daemon.count("repaired") == 0, "\(daemon.log)")
        }
    }

    @Test(arguments: ["ip link del vfrep0", "ip link set vfrep0 nomaster"])
    func aLostPrimaryLeavesTheStandby(_ loss: String) throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare("--address 52:54:00:00:00:02")
            try Command.script(loss)
            try daemon.waitFor("redirected")
            #expect(daemon.log.contains("primary port vfrep0"), "\(daemon.log)")
            try daemon.waitForEntry("dev tap0 master br0 static")
            #expect(try daemon.lab.fdbsteer("status vm1 --json").output.contains("\"side\" : \"standby\""))
            #expect(try daemon.lab.fdbsteer("history vm1 --report").output.contains("by the daemon"))
            // The port does not come back by itself.
            if loss.contains("nomaster") {
                try Command.script("ip link set vfrep0 master br0\nbridge fdb del 52:54:00:00:00:02 dev tap0 master")
                try daemon.waitFor("repaired")
                #expect(try daemon.lab.lab.entry(CommandLineLab.mac)?.contains("dev tap0") == true)
            }
        }
    }

    /// The move is made when there is space again, whatever is heard of the guest meanwhile, and is told and counted once.
    @Test func aLostPrimaryIsLeftWhenThereIsSpaceAgain() throws {
        try DaemonLab.run(configuration: "[metrics]\nlisten = \"127.0.0.1:9923\"\n") { daemon in
            try Command.script("ip link set lo up")
            try daemon.lab.prepare()
            try daemon.withoutSpace {
                try Command.script("ip link del vfrep0")
                try daemon.waitFor("msg=condition code=not-as-intended")
                try Command.script("ip link set tap0 mtu 1400\nip link set tap0 mtu 1500")
                try daemon.waitFor("msg=\"operation failed, will retry\"")
                #expect(try daemon.lab.lab.entry(CommandLineLab.mac)?.contains("dev tap0") != true)
            }
            try daemon.waitForEntry("dev tap0 master br0 static")
            try daemon.waitFor("msg=\"condition over\" code=not-as-intended")
            try daemon.waitFor("msg=\"operation works again\" with=conditions")
            #expect(daemon.count("redirected, but failed") == 1, "\(daemon.log)")
            #expect(daemon.log.contains("reason=\"the switch to standby failed: the journal "), "\(daemon.log)")
            #expect(daemon.count("works again") == 1 && daemon.count("operation failed") == 1, "\(daemon.log)")
            let page = try HTTPConnection.get("/metrics", port: 9923).body
            #expect(page.contains("fdbsteer_guest_primary_losses_total{guest=\"vm1\"} 1\n"), "\(page)")
        }
    }

    @Test func aLostStandbyIsReportedOnce() throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare()
            #expect(try daemon.lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
            try Command.script("ip link set tap0 nomaster")
            try daemon.waitFor("msg=condition code=not-a-port")
            try Command.script("ip link set tap0 mtu 1400\nip link set tap0 mtu 1500\nip link set tap0 master br0")
            try daemon.waitFor("repaired")
            try daemon.waitFor("msg=\"condition over\" code=not-a-port")
            #expect(daemon.count("msg=condition code=not-a-port") == 1, "\(daemon.log)")
            let events = TextFile.read(daemon.lab.state + "/events.log")
            #expect(events.contains("\"event\":\"condition\"") && events.contains("\"by\":\"fdbsteerd\""), "\(events)")
            try daemon.waitForEntry("dev tap0 master br0 static")
        }
    }

    @Test func afterABurstOfRepairsAFightIsReportedAndSlowedDown() throws {
        let limits = "[daemon]\nrepair_burst = 5\nrepair_backoff_initial = \"200ms\"\nrepair_backoff_limit = \"1s\"\n"
        try DaemonLab.run(configuration: limits) { daemon in
            try daemon.lab.prepare()
            let steal = "bridge fdb replace \(CommandLineLab.mac) dev tap0 master static"
            for repair in 1...5 {
                try Command.script(steal)
                try daemon.waitFor("repaired", times: repair)
            }
            try Command.script(steal)
            try daemon.waitFor("code=repairs-fought")
            #expect(daemon.count("repaired") == 5, "\(daemon.log)")
            // It is repaired nevertheless, later.
            try daemon.waitFor("repaired", times: 6)
            try daemon.waitForEntry("dev vfrep0")
            #expect(daemon.count("msg=condition code=repairs-fought") == 1, "\(daemon.log)")
        }
    }

    @Test func aKilledCommandIsEndedByTheDaemon() throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare("--address 52:54:00:00:00:02")
            // In the middle: the journal has switching, the entries have moved, nothing is committed. What has moved stays.
            let killed = try Command.run(
                [
                    "strace", "-f", "-o", daemon.lab.state + "/trace", "-e", "trace=sendmsg", "-e",
                    "inject=sendmsg:signal=KILL:when=7", CommandLineLab.binary, "switch", "vm1", "--to", "standby",
                ], environment: ["FDBSTEER_STATE": daemon.lab.state])
            #expect(killed.exitCode != 0)
            try daemon.waitFor("recovered")
            try daemon.waitForEntry("dev tap0 master br0 static")
            #expect(try daemon.lab.fdbsteer("verify vm1").exitCode == 0)
            #expect(try daemon.lab.fdbsteer("status vm1 --json").output.contains("\"side\" : \"standby\""))
        }
    }

    /// No process would ever read its writes to a deleted file, and a second daemon could lock a new one.
    @Test(arguments: [
        "rm -r guests", "rm -r locks", "cp -r guests copy && mv guests old && mv copy guests", "rm daemon.lock",
        "mv daemon.lock old", "cp daemon.lock copy && mv copy daemon.lock",
    ])
    func aJournalThatIsTakenAwayEndsIt(_ command: String) throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            try DaemonLab.run(in: lab, exitCode: 3) { daemon in
                #expect(try Command.run(["sh", "-c", "cd \(lab.state) && \(command)"]).exitCode == 0)
                try daemon.waitFor("was deleted or replaced while it was in use")
            }
        }
    }

    @Test func whatHappenedWhileItWasDeadIsFoundAtTheStart() throws {
        try CommandLineLab.run(flooding: false) { lab in
            try lab.prepare()
            try DaemonLab.run(in: lab, log: "first") { kill($0.process, SIGKILL) }
            try Command.script("bridge fdb replace \(CommandLineLab.mac) dev tap0 master static")
            try DaemonLab.run(in: lab, log: "second") { daemon in
                #expect(daemon.log.contains("1 entry brought back to primary"), "\(daemon.log)")
                try daemon.waitForEntry("dev vfrep0 master br0 static")
            }
        }
    }

    /// A setting, and the guard, that were put right at the start are told as what they were.
    @Test func settingsThatArePutRightAtTheStartAreTold() throws {
        try CommandLineLab.run(flooding: false) { lab in
            try lab.prepare()
            try Command.script("bridge link set dev tap0 learning on\nnft flush ruleset")
            try DaemonLab.run(in: lab) { daemon in
                let told = daemon.log.split(separator: "\n").first { $0.contains("reconciled") } ?? ""
                #expect(told.contains("notice") && told.contains("switch learning off on tap0"), "\(daemon.log)")
                #expect(told.contains("make the nftables table fdbsteer-guard-"), "\(told)")
            }
            let history = try lab.fdbsteer("history vm1").output
            #expect(history.contains(" reconcile ") && !history.contains(" abort "), "\(history)")
            #expect(try lab.fdbsteer("reconcile").output.contains("as intended on primary"))
        }
    }

    @Test func lostNotificationsLeadToAResyncThatMissesNothing() throws {
        try DaemonLab.run(configuration: "[daemon]\nreceive_buffer = 65536\n") { daemon in
            try daemon.lab.prepare()
            var batch = ""
            for number in 0..<500 {
                let mac = "0a:00:00:00:\(hex(number >> 8)):\(hex(number & 255))"
                batch += "fdb replace \(mac) dev uplink0 master static\nfdb del \(mac) dev uplink0 master\n"
                if number == 400 { batch += "fdb replace \(CommandLineLab.mac) dev tap0 master static\n" }
            }
            try TextFile.write(batch, to: daemon.lab.state + "/storm")
            // A stopped daemon receives nothing, and a thousand notifications do not fit into 64 KiB.
            kill(daemon.process, SIGSTOP)
            #expect(try Command.run(["bridge", "-batch", daemon.lab.state + "/storm"]).exitCode == 0)
            kill(daemon.process, SIGCONT)
            try daemon.waitForEntry("dev vfrep0 master br0 static")
            try daemon.waitFor("reason=overrun")
            try daemon.waitFor("repaired")
            #expect(daemon.count("repaired") == 1, "\(daemon.log)")
        }
    }

    @Test func aWrongConfigurationChangesNothing() throws {
        try DaemonLab.run { daemon in
            try daemon.lab.prepare()
            let file = daemon.lab.state + "/fdbsteerd.toml"
            try TextFile.write("[daemon]\nresync_intervall = \"60s\"\n", to: file)
            kill(daemon.process, SIGHUP)
            try daemon.waitFor("configuration refused")
            #expect(daemon.log.contains("resync_interval"), "\(daemon.log)")
            let check = try Command.run([CommandLineLab.products + "/fdbsteerd", "--config", file, "--check"])
            #expect(check.exitCode == 64 && check.errors.contains(".toml:2:"), "\(check.errors)")
            try TextFile.write("[log]\nlevel = \"debug\"\n", to: file)
            kill(daemon.process, SIGHUP)
            try daemon.waitFor("configuration read again")
            // The intent survives the process.
            try Command.script("bridge fdb del \(CommandLineLab.mac) dev vfrep0 master")
            try daemon.waitFor("repaired")
        }
    }

    private func hex(_ number: Int) -> String { (number < 16 ? "0" : "") + String(number, radix: 16) }
}
