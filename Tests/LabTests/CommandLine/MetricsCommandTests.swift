import Glibc
import Lab
import Testing

/// `fdbsteer metrics` against the running kernel.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct MetricsCommandTests {
    private static let noPromtool = Unpacked.obstacle("prometheus", programs: ["/usr/bin/promtool"])

    @Test func whatTheCommandLineDidIsCounted() throws {
        try CommandLineLab.run { lab in
            let nothing = try lab.fdbsteer("metrics")
            #expect(nothing.exitCode == 0 && nothing.output.hasSuffix("\n"))
            #expect(nothing.output.contains("fdbsteer_guest_interfaces{side=\"primary\"} 0\n"))
            #expect(access(lab.state + "/guests", F_OK) != 0, "reading made a journal")
            try lab.prepare()
            for side in ["standby", "primary", "standby"] {
                #expect(try lab.fdbsteer("switch vm1 --to \(side)").exitCode == 0)
            }
            let page = try lab.fdbsteer("metrics").output
            for line in [
                "redirections_total{direction=\"standby\",strategy=\"cut\",outcome=\"done\"} 2",
                "redirections_total{direction=\"primary\",strategy=\"cut\",outcome=\"done\"} 1",
                "redirection_duration_seconds_count{phase=\"move\"} 3",
                "redirection_duration_seconds_count{phase=\"proof\"} 0", "rollbacks_total 0",
                "guest_interfaces{side=\"standby\"} 1", "guest_states{state=\"pinned\"} 1",
                "entries{state=\"pinned\"} 1", "entries_unproven 0",
            ] {
                #expect(page.contains("\nfdbsteer_" + line + "\n"), "\(line): \(page)")
            }
            #expect(try lab.fdbsteer("metrics").output == page)
            let json = try lab.fdbsteer("metrics --json").output
            #expect(json.hasPrefix("{") && json.contains("# TYPE fdbsteer_entries gauge\\n"))
        }
    }

    @Test func aFileIsReplacedInOneStep() throws {
        try CommandLineLab.run { lab in
            let file = lab.state + "/fdbsteer.prom"
            #expect(try lab.fdbsteer("metrics --output \(file) --dry-run").output.isEmpty)
            #expect(access(file, F_OK) != 0)
            // An old file that another user may read, and that another process has open.
            try Command.script("touch \(file)")
            let old = open(file, O_RDONLY | O_CLOEXEC)
            defer { close(old) }
            let command = try lab.fdbsteer("metrics --output \(file)")
            #expect(command.exitCode == 0 && command.output.isEmpty, "\(command.errors)")
            let page = TextFile.read(file)
            #expect(page == (try lab.fdbsteer("metrics").output) && !page.isEmpty)
            #expect(lseek(old, 0, SEEK_END) == 0, "the old file was written into")
            #expect(try Command.run(["stat", "-c", "%a", file]).output == "644\n")
            #expect(try Command.run(["ls", lab.state]).output == "fdbsteer.prom\n", "something was left over")
            for wrong in ["/dev/null", lab.state, "/nonexistent/fdbsteer.prom", "/proc/fdbsteer.prom"] {
                let refused = try lab.fdbsteer("metrics --output \(wrong)")
                #expect(refused.exitCode == 3, "\(wrong): \(refused.errors)")
                #expect(refused.errors.contains("cannot write \(wrong): "), "\(refused.errors)")
            }
            #expect(try Command.run(["ls", lab.state]).output == "fdbsteer.prom\n")
            #expect(try Command.run(["stat", "-c", "%F", "/dev/null"]).output == "character special file\n")
        }
    }

    @Test(.enabled(if: noPromtool == nil, "\(noPromtool ?? "")"))
    func promtoolFindsNothing() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            #expect(try lab.fdbsteer("switch vm1 --to standby").exitCode == 0)
            let file = lab.state + "/page"
            #expect(try lab.fdbsteer("metrics --output \(file)").exitCode == 0)
            let check = try Command.run(
                Unpacked.command("prometheus", ["sh", "-c", "promtool check metrics < \(file)"]))
            #expect(check.exitCode == 0 && check.errors.isEmpty, "\(check.output)\(check.errors)")
        }
    }

    /// A hook starts the program in the middle of a switchover: it must not contain HTTP, the C++ parser or Foundation.
    @Test func theProgramStaysSmall() throws {
        // The release build is statically linked, which ldd reports on standard error.
        let libraries = try Command.run(["ldd", CommandLineLab.binary])
        #expect(libraries.output.contains("libc.so") || libraries.errors.contains("not a dynamic executable"))
        for word in ["libFoundation.so", "libFoundationInternationalization", "libFoundationNetworking"] {
            #expect(!libraries.output.contains(word), "\(libraries.output)")
        }
        // A statically linked Foundation contains this text of its run loop.
        let symbols = try Command.run(
            ["grep", "-c", "-a", "-E", "NIOPosix|NIOHTTP1|toml::|<CFRunLoop", CommandLineLab.binary]
        ).output
        #expect(symbols == "0\n", "\(symbols)")
    }
}
