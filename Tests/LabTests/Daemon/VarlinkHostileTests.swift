import Glibc
import JSON
import Lab
import Testing

/// Clients of the local API that follow no rules, and a daemon that is killed while it works for one.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct VarlinkHostileTests {
    /// The most resident memory that the daemon had, in KiB (VmHWM of proc_pid_status(5)).
    private func peak(_ daemon: DaemonLab) -> Int {
        let line = TextFile.read("/proc/\(daemon.process)/status").split(separator: "\n").first {
            $0.hasPrefix("VmHWM:")
        }
        return line?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    }

    /// Someone else deletes the guest's entry, and the daemon brings it back.
    private func repairs(_ daemon: DaemonLab) throws {
        let before = daemon.count("msg=repaired")
        try Command.script("bridge fdb del \(CommandLineLab.mac) dev vfrep0 master")
        try daemon.waitFor("msg=repaired", times: before + 1)
    }

    @Test func whatIsNoCallEndsTheConnection() throws {
        try DaemonLab.run { daemon in
            let deep = String(repeating: "[", count: 100_000)
            let messages = [
                "hello", "", "[]", "{}", #"{"method":1}"#, #"{"method":"a","parameters":[]}"#,
                #"{"method":"io.fdbsteer.Status","more":1}"#, #"{"method":"io.fdbsteer.Status","upgrade":true}"#,
                #"{"method":"io.fdbsteer.Status","parameters":{"x":\#(deep)"#, deep,
            ]
            for message in messages {
                let client = try VarlinkClient(daemon.lab)
                client.send(Array(message.utf8) + [0])
                let error = try #require(try client.reply(), "\(message.prefix(60))")
                #expect(error["error"]?.text == "io.fdbsteer.Failed", "\(message.prefix(60)): \(error)")
                #expect(error["parameters"]?["code"]?.text == "usage" && error["parameters"]?["remedy"]?.text != nil)
                #expect(try client.reply() == nil)
            }
            // Several calls at once, cut at any place, are answered one after the other.
            let client = try VarlinkClient(daemon.lab)
            let call = Array(#"{"method":"org.varlink.service.GetInfo"}"#.utf8) + [0]
            for byte in call + call { client.send([byte]) }
            for _ in 0..<2 { #expect(try client.reply()?["parameters"]?["product"]?.text == "fdbsteerd") }
        }
    }

    /// A line of 1 GB, half lines, 10,000 connections, nested values, answers that nobody reads: repairs go on, and memory stays.
    @Test func floodsNeitherStallRepairsNorGrowMemory() throws {
        try DaemonLab.run { daemon in
            let lab = daemon.lab
            try lab.prepare()
            _ = try VarlinkClient(lab).answer("Topology")
            try repairs(daemon)
            let before = peak(daemon)

            let endless = try VarlinkClient(lab)
            let part = [UInt8](repeating: 0x61, count: 1 << 20)
            var sent = 0
            while sent < 1024, endless.send(part) { sent += 1 }
            #expect(sent < 16, "the daemon took \(sent) MB of a line")
            let half = try (0..<20).map { _ in try VarlinkClient(lab) }
            for client in half { client.send(Array(#"{"method":"io.fdbsteer.Sta"#.utf8)) }
            try repairs(daemon)

            let values = String(repeating: "1,", count: 90_000) + "1"
            let large = Array(#"{"method":"io.fdbsteer.Status","parameters":{"guests":[\#(values)]}}"#.utf8) + [0]
            var unread: [VarlinkClient] = []
            for _ in 0..<20 {
                let client = try VarlinkClient(lab)
                client.send(large)
                for _ in 0..<20 { client.begin("Topology") }
                unread.append(client)
            }
            try repairs(daemon)
            for _ in 0..<10_000 { _ = try? VarlinkClient(lab) }
            try repairs(daemon)
            // Who has gone makes room.
            withExtendedLifetime((half, unread)) {}
            unread = []
            var answer: JSON?
            for _ in 0..<3000 where answer == nil {
                answer = try? VarlinkClient(lab).answer("Verify", #"{"guests":["vm1"]}"#)
                if answer == nil { usleep(10_000) }
            }
            #expect(answer?["ok"] == .bool(true))
            let grown = peak(daemon) - before
            #expect(grown < 64 << 10, "memory has grown by \(grown) KiB")
        }
    }

    @Test func connectionsAreLimited() throws {
        try DaemonLab.run { daemon in
            var clients: [VarlinkClient] = []
            var refused: JSON?
            while clients.count < 100, refused == nil {
                let client = try VarlinkClient(daemon.lab)
                client.begin("org.varlink.service.GetInfo")
                let reply = try client.reply()
                if reply?["error"] != nil { refused = reply } else { clients.append(client) }
            }
            #expect(clients.count == 64)
            #expect(refused?["parameters"]?["message"]?.text == "too many connections")
        }
    }

    /// The daemon is killed at each message that a switch of the API sends: the next daemon finds no doubt.
    @Test(.enabled(if: access("/usr/bin/strace", X_OK) == 0, "needs strace"))
    func aKillAtAnyStepLeavesNoDoubt() throws {
        try CommandLineLab.run(flooding: false) { lab in
            for step in 1...6 {
                try DaemonLab.run(in: lab, log: "log\(step)") { daemon in
                    if step == 1 { try lab.prepare() }
                    let tracer = try RunningCommand([
                        "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=sendmsg", "-e",
                        "inject=sendmsg:signal=KILL:when=\(step)", "-p", "\(daemon.process)",
                    ])
                    for _ in 0..<3000
                    where !TextFile.read("/proc/\(daemon.process)/status").contains("TracerPid:\t\(tracer.process)\n") {
                        usleep(10_000)
                    }
                    // Its loop may have sent as many messages already.
                    if let client = try? VarlinkClient(lab) {
                        client.begin("Switch", #"{"guests":["vm1"],"to":"\#(step % 2 == 0 ? "primary" : "standby")"}"#)
                        _ = try client.reply()
                    }
                    kill(daemon.process, SIGKILL)
                    _ = tracer.wait()
                }
                try DaemonLab.run(in: lab, log: "log\(step)-after") { _ in
                    let verify = try lab.fdbsteer("verify vm1")
                    #expect(verify.exitCode == 0, "killed at \(step): \(verify.output)\(verify.errors)")
                    #expect(try lab.fdbsteer("status vm1 --json").output.contains("\"phase\" : \"pinned\""))
                }
            }
        }
    }
}
