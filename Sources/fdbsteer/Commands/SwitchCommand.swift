import ArgumentParser
import Controller
import Policy
import Records
import Switchdev
import System

/// `fdbsteer switch`.
struct SwitchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "switch", abstract: "Redirect guests' addresses to a side.",
        discussion: """
            Several guests are redirected one after the other: all are tried, and the exit code is the worst (5, 4, 7, 3, 8, 6, \
            0). --all takes every guest of this network namespace that has such a side, and asks for proof where there is \
            hardware.
            """)

    @Argument(help: "Guest interfaces.", completion: Completions.guests)
    var guests: [String] = []
    @Flag(help: "All guests that have such a side; a missing proof of hardware is a failure.")
    var all = false
    @Option(help: "primary, standby or remote; local or remote for a guest with one port.")
    var to: Side
    @Option(
        help: "cut: one move, now. bracket: from now on each frame reaches both ports, until --close or abort.")
    var strategy: Strategy = .cut
    @OptionGroup var until: WaitOptions
    @Flag(help: "Close the open bracket: the guest is on the side that --to names.")
    var close = false
    @OptionGroup var bracket: BracketOptions
    @OptionGroup var waivers: WaiverOptions
    @OptionGroup var proof: ProofOptions
    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard guests.isEmpty == all else {
            throw ValidationError(
                all ? "--all takes every guest: name none" : "name the guest, or several, or take --all")
        }
        if all || Set(guests).count > 1, !until.signals.isEmpty {
            throw ValidationError("each guest has signals of its own: --until is for one guest")
        }
        let contradiction = Redirect.contradiction(
            strategy, waits: !until.signals.isEmpty, closes: close,
            limits: (until.timeout != nil, until.onTimeout != nil),
            names: ("--until", "--timeout", "--on-timeout", "--close"))
        if let contradiction { throw ValidationError(contradiction) }
    }

    func run() {
        let call = common.call
        let named = call.ids(guests)
        let wait = call.check { () throws(ControllerError) in try until.wait() }
        var options = proof.options(common, waivers)
        options.allowsDuplicates = bracket.allowDuplicates
        options.bracketMaxRate = bracket.bracketMaxRate
        if all { options.requireProof = true }
        let redirect = Redirect(
            to: to, strategy: strategy, until: wait, closes: close, closesWithoutSignal: until.onTimeout == .abort,
            options: options)
        call.run { host throws(ControllerError) in
            let (ids, hasFaults) = all ? try chosen(call) : (named, false)
            var tally = Tally(of: ids.count, side: to)
            let code = try call.ask(
                ids, isList: all, on: &host,
                exitCode: { report in
                    tally.count(report)
                    return call.complain(report)
                },
                print: { call.printText($0) },
                { id, host throws(ControllerError) in
                    if all, !common.json { Output.error("\(tally.next) \(id)") }
                    return try redirect.run(id, on: &host) { Output.error("fdbsteer: waiting; \($0)") }
                })
            if all { Output.error(tally.summary) }
            return hasFaults ? ControllerError.Code.worse(code, ControllerError.Code.precondition.rawValue) : code
        }
    }

    /// The guests that have the side, and whether there are broken records; the others are named on standard error.
    private func chosen(_ call: Call) throws(ControllerError) -> ([GuestID], hasFaults: Bool) {
        let (records, hasFaults) = try call.allGuests()
        let fitting = records.filter { $0.guest.port(of: to) != nil }
        for record in records where record.guest.port(of: to) == nil {
            Output.error("fdbsteer: \(record.guest.id) has no \(to.rawValue): left where it is")
        }
        return (fitting.map(\.guest.id), hasFaults)
    }

    /// What became of many guests.
    private struct Tally {
        private let all: Int
        private let side: Side
        private var begun = 0
        private var (moved, already, proven, planned) = (0, 0, 0, 0)

        init(of all: Int, side: Side) {
            self.all = all
            self.side = side
        }

        /// The place of the next guest in the list.
        var next: String {
            mutating get {
                begun += 1
                return "\(begun)/\(all)"
            }
        }

        mutating func count(_ report: Report) {
            guard report.exitCode == 0 else { return }
            switch report.outcome {
            case .already: already += 1
            case .planned: planned += 1
            default: moved += 1
            }
            if report.proofStatus == .proven { proven += 1 }
        }

        var summary: String {
            let failed = all - moved - already - planned
            return
                "\(all == 1 ? "1 guest" : "\(all) guests"): \(moved) moved to \(side.rawValue), \(already) already there"
                + (planned == 0 ? "" : ", \(planned) only planned")
                + (proven == 0 ? "" : ", \(proven) proven in hardware")
                + ", \(failed) failed"
        }
    }
}
