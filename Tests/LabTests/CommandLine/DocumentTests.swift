import Glibc
import Lab
import Testing

/// The commands of README.md and docs/: each is run as it stands, or is here with the reason why it is not.
@Suite struct DocumentTests {
    private static let documents: [String] = {
        let found = try? Command.run(["sh", "-c", "cd \(Checkout.path) && ls README.md docs/*.md"])
        return (found?.output ?? "").split(separator: "\n").map(String.init)
    }()

    /// Lines of a document's code that begin with a program, without their comments.
    private static func commands(_ program: String, in document: String) -> [String] {
        TextFile.read(Checkout.path + "/" + document).split(separator: "\n").compactMap { line in
            guard let match = line.wholeMatch(of: /\ {4}(?:[#$] )?([a-z].*?)(?: {2,}#.*)?/) else { return nil }
            let words = match.1.split(separator: " ")
            return words.first == Substring(program) ? words.joined(separator: " ") : nil
        }
    }

    /// What cannot be done here: a part of a command, the exit code that it has here, and why.
    private static let elsewhere: [(part: String, code: Int32, reason: String)] = [
        ("--until qmp:", 3, "no QEMU runs"),
        ("--until bus-master:", 3, "there is no VF"),
        ("--until answer:primary", 0, "the guest, which did not answer, is there still"),
        ("--until answer:", 6, "no guest answers"),
        ("probe mac-filter", 3, "there is no NIC with VFs"),
        ("--pf nic0", 3, "there is no NIC with VFs"),
        ("--number 17", 3, "there are not so many redirections"),
    ]

    private static let mac = "52:54:00:12:34:56"

    @Test(
        .enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"),
        arguments: documents.filter { !commands("fdbsteer", in: $0).isEmpty })
    func eachCommandDoesWhatItIsShownFor(document: String) throws {
        try CommandLineLab.run(flooding: false) { lab in
            let commands = Self.commands("fdbsteer", in: document)
            for port in ["bond0", "vx100", "vnet0"] where commands.contains(where: { $0.contains(port) }) {
                try lab.lab.addPort(port)
            }
            for command in commands {
                if command.contains(" --bridge ") {
                    // A guest as it is before all, and learned behind its VF's port.
                    #expect(try lab.fdbsteer("release vm1 --if-exists").exitCode == 0)
                    try Command.script("bridge fdb replace \(Self.mac) dev vfrep0 master dynamic")
                } else if try lab.fdbsteer("status vm1").exitCode != 0 {
                    let prepared = try lab.fdbsteer(
                        "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --address \(Self.mac) "
                            + "--at primary --kind net_failover")
                    #expect(prepared.exitCode == 0, "\(prepared.errors)")
                }
                let special = Self.elsewhere.first { command.contains($0.part) }
                let run = try Command.run(
                    // What goes on is ended as by Ctrl-C.
                    ["timeout", "--preserve-status", "-s", "INT", "5"]
                        + Self.limited(command).split(separator: " ").map(String.init)
                        .replacing(["fdbsteer"], with: [CommandLineLab.binary], maxReplacements: 1),
                    environment: ["FDBSTEER_STATE": lab.state])
                #expect(
                    run.exitCode == special?.code ?? 0, "\(document): \(command): \(run.output)\(run.errors)")
            }
        }
    }

    /// A view that goes on, or a wait, for a moment.
    private static func limited(_ command: String) -> String {
        let isView = command.contains(" monitor") || command.contains(" watch")
        if command.contains("--until") { return command.replacing(/\s--timeout \w+/, with: "") + " --timeout 50ms" }
        if isView { return command.replacing(/\s--for \w+/, with: "") + " --for 50ms" }
        return command.replacing(" --watch", with: "")
    }

    /// The benches measure for minutes: their verbs and options are there.
    @Test func eachMeasurementExists() throws {
        var help: [String: String] = [:]
        for document in Self.documents {
            for command in Self.commands("fdbsteer-bench", in: document) {
                let words = command.split(separator: " ").map(String.init)
                for verb in words.dropFirst().prefix(1) where help[verb] == nil {
                    let told = try Command.run(["\(CommandLineLab.products)/fdbsteer-bench", "help", verb])
                    help[verb] = told.output
                    #expect(told.output.contains("USAGE: fdbsteer-bench \(verb)"), "\(document): \(command)")
                }
                for option in words where option.hasPrefix("--") {
                    #expect(help[words[1]]?.contains(option) == true, "\(document): \(command)")
                }
            }
        }
        #expect(help.count > 3)
    }

    @Test func eachScriptExists() {
        for document in Self.documents {
            for match in TextFile.read(Checkout.path + "/" + document).matches(of: /(?:^|[ `])(scripts\/[a-z-]+)/) {
                #expect(access(Checkout.path + "/" + match.1, X_OK) == 0, "\(document): \(match.1)")
            }
        }
    }

    /// Two screens.
    @Test func theFirstPageIsShort() {
        #expect(
            TextFile.read(Checkout.path + "/README.md").split(separator: "\n", omittingEmptySubsequences: false).count
                <= 101)
    }
}
