import ArgumentParser
import Controller
import FDB
import Policy
import Records
import Switchdev

/// `fdbsteer probe`.
struct ProbeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "probe", abstract: "Measure what a NIC does with a guest's frames, or show what was measured.",
        subcommands: [ProbeFilterCommand.self, ProbeListCommand.self])
}

/// `fdbsteer probe mac-filter`.
struct ProbeFilterCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mac-filter",
        abstract: "Find whether a NIC gives a guest's frames to a VF that nobody reads.",
        discussion: """
            Gives a free VF a free MAC, binds and unbinds it, sends numbered frames in each state and counts where they \
            arrive; then puts everything back, also after SIGINT and SIGTERM (after SIGKILL: fdbsteer reconcile). The \
            verdict is stored for NICs of this driver, PCI id, firmware and eswitch mode. Exit code 4 when it was ended \
            early and everything was put back.
            """)

    @Option(help: "The interface of the physical function.")
    var pf: String
    @Option(help: "The number of a VF that nobody uses.")
    var vf: UInt32
    @Option(help: "A MAC that nobody uses; with /VLAN tagged frames are sent too.")
    var address: String
    @Option(help: "The interface to send from: of another NIC, on the same network.")
    var from: String
    @Option(help: "The number of another VF, to send from it too.")
    var siblingVf: UInt32?
    @Option(help: "The driver of the VFs. Default: the one that goes with the PF's.")
    var driver: String?
    @Option(help: "Frames of each kind in each state.")
    var frames = 20
    @OptionGroup var common: CommonOptions

    func run() {
        let request = common.call.check { () throws(ControllerError) -> ProbeRequest in
            let parsed: Address
            do throws(AddressError) {
                parsed = try Address(address)
            } catch {
                throw ControllerError(.usage, error.message, remedy: error.remedy)
            }
            return try ProbeRequest(
                pf: pf, vf: vf, address: parsed, from: from, sibling: siblingVf, driver: driver, frames: frames)
        }
        common.call.run { host throws(ControllerError) in
            let report = try Probe(request, dryRun: common.dryRun).run(on: &host) { number, count, words in
                Output.error("probe \(min(number, count))/\(count): \(words)")
            }
            common.call.show(report)
            return report.exitCode
        }
    }
}

/// `fdbsteer probe list`.
struct ProbeListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Show the verdicts about NICs that were probed on this host.")

    /// The JSON object.
    private struct View: Encodable {
        let verdicts: [StoredVerdict]
    }

    @OptionGroup var common: CommonOptions

    func run() {
        common.call.run(reading: true) { host throws(ControllerError) in
            let verdicts = try StoredVerdict.all(in: common.call.folder)
            if common.json {
                Output.json(View(verdicts: verdicts))
            } else if verdicts.isEmpty {
                Output.line("no NIC was probed")
            } else {
                Output.table(
                    [
                        [
                            "DRIVER", "PCI ID", "FIRMWARE", "ESWITCH", "USABLE", "ORDER", "EARLY", "STALE", "TWICE",
                            "LOOPBACK",
                        ]
                    ]
                        + verdicts.map(ProbeListCommand.row))
            }
            return 0
        }
    }

    private static func row(_ stored: StoredVerdict) -> [String] {
        func word(_ flag: Bool?) -> String { flag.map { $0 ? "yes" : "no" } ?? "-" }
        let (nic, verdict) = (stored.nic, stored.verdict)
        return [
            nic.driver, nic.pciID, nic.firmware.isEmpty ? "-" : nic.firmware, nic.eswitchMode,
            verdict.usableForFailover.rawValue, verdict.order.rawValue, word(verdict.earlyFilter),
            word(verdict.staleFilter), word(verdict.duplicates), word(verdict.loopbackBlackhole),
        ]
    }
}

extension Call {
    /// Prints what a probe found.
    func show(_ report: ProbeReport) {
        if json {
            Output.json(report)
        } else {
            Output.line("\(report.pf) VF \(report.vf), \(report.address): \(report.nic)")
            if !report.states.isEmpty {
                Output.table(
                    [["STATE", "FROM", "TAG", "SENT", "PF", "VF", "WIRE", "NOWHERE", "ARRIVES"]]
                        + report.states.map { counts in
                            [
                                counts.state, counts.source.rawValue, counts.tagged ? "yes" : "no", "\(counts.sent)",
                                "\(counts.pf)", "\(counts.vf)", "\(counts.wire)", "\(counts.nowhere)", counts.place,
                            ]
                        })
            }
            for (state, reason) in report.refused.sorted(by: { $0.key < $1.key }) {
                Output.line("the NIC refused \(state): \(reason)")
            }
            for line in report.words { Output.line(line) }
            for note in report.notes { Output.line("note: \(note)") }
            if report.outcome == .done {
                Output.line(
                    "everything is as it was before, after \(Output.duration(report.totalNanoseconds))")
            }
        }
        guard report.exitCode != 0 else { return }
        Output.error(
            report.outcome == .notRestored
                ? "fdbsteer: the probe could not put everything back; run \"fdbsteer reconcile\":"
                : "fdbsteer: the probe ended early, and everything is as it was before:")
        for failure in report.failures { Output.error("  \(failure)") }
    }
}
