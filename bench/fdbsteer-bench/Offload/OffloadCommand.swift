import ArgumentParser
import Glibc
import Lab

/// `fdbsteer-bench offload`.
struct OffloadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "offload",
        abstract: "Whether hardware follows a redirection: fdbsteer and bridge, judged by the hardware's own table.",
        discussion: """
            Boots the lab VM (scripts/lab-vm) and runs in it: a model of a NIC's embedded switch for every pair of ports, \
            entry found and behaviour of the hardware, and rocker, an emulated switch ASIC, for frames under traffic. \
            Needs root; run it from the project's root.

            With --ports it asks a NIC of this host instead: it puts a MAC that is nobody's on the first port, moves it to \
            the second and back by different commands, shows what the bridge and the driver say, and removes it again.
            """)

    @Option(help: "Redirections of each method on rocker.")
    var redirections = 100
    @Option(help: "model, rocker or both.")
    var part = Part.both
    @Flag(help: "Run here, in the lab VM, instead of booting it.")
    var inside = false
    @Flag(
        help: "Exit with 1 when fdbsteer claimed something that hardware denies, lost a frame, or left a flow behind.")
    var check = false
    @Option(name: .long, help: "Write the results as JSON.", transform: TextFile.writable)
    var json: String?

    @Option(help: "Two ports of --bridge on this host, A,B, the first a port of the NIC's switch.")
    var ports: String?
    @Option(help: "The bridge of --ports.")
    var bridge: String?
    @Option(help: "The VLAN to use, on a bridge that filters VLANs.")
    var vlan: UInt16?

    /// The parts of the bench.
    enum Part: String, ExpressibleByArgument, CaseIterable {
        case model, rocker, both
    }

    func validate() throws {
        guard (2...10_000).contains(redirections) else {
            throw ValidationError("--redirections goes from 2 to 10000")
        }
        guard (ports == nil) == (bridge == nil), ports.map({ $0.split(separator: ",").count == 2 }) ?? true else {
            throw ValidationError("--ports A,B and --bridge go together")
        }
    }

    func run() throws {
        if let ports, let bridge {
            let names = ports.split(separator: ",").map(String.init)
            return try OffloadHostCheck(bridgeName: bridge, ports: names, vlan: vlan).run()
        }
        guard inside else { return try boot() }
        guard getenv("FDBSTEER_LAB_VM") != nil else {
            throw LabError("this part loads modules and takes the machine's ports: it runs in the lab VM only")
        }
        let scratch = try TemporaryFolder(parent: nil)
        defer { scratch.remove() }
        var cases: [OffloadMatrix.Result] = []
        var runs: [RockerRun.Result] = []
        if part != .rocker {
            let matrix = try OffloadMatrix(state: scratch.path)
            // A check tests fdbsteer; of the peer it needs what shows that the judge can find a fault.
            cases = try matrix.run(peer: check ? [.normal] : OffloadMatrix.Hardware.allCases) { result in
                if result.fdbsteer == .wrong { print("WRONG: \(result.title): \(result.words)") }
            }
            try matrix.remove()
            print(OffloadReport.table(cases))
            print("In \(matrix.repaired) redirections the driver took entries back, and they were made anew.\n")
        }
        if part != .model {
            scratch.remove()
            let again = try TemporaryFolder(parent: nil)
            defer { again.remove() }
            let rocker = try RockerRun(state: again.path)
            for standby in RockerRun.Standby.allCases {
                // Nor does a check test the highest rate of the emulator.
                let rate = try rocker.highestRate(standby) / (check ? 2 : 1)
                for method in RockerRun.Method.allCases where !check || method != .deleteAdd {
                    runs.append(try rocker.run(method, standby, rate: rate, redirections: redirections))
                }
            }
            try rocker.remove()
            print(OffloadReport.table(runs))
        }
        let report = OffloadReport(cases: cases, runs: runs)
        if let json { try report.write(to: json) }
        if check, let failure = report.failure { throw LabError(failure) }
    }

    /// Runs the same command in the lab VM.
    private func boot() throws {
        var arguments = ["offload", "--inside", "--part", part.rawValue, "--redirections", "\(redirections)"]
        if check { arguments.append("--check") }
        let code = try OwnProgram.runInLabVM(["--rocker", "4"], arguments, json: json)
        guard code == 0 else { throw ExitCode(code) }
    }
}

extension OffloadMatrix.Result {
    var title: String { "\(pair.words), \(found.rawValue), hardware \(hardware.rawValue)" }
}
