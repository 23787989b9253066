import ArgumentParser
import Controller
import Policy

/// `fdbsteer verify`.
struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Compare what is intended for guests with the table and with hardware.",
        discussion: """
            Without a name all guests are compared, and each has one line. Exit code 0 when everything is as intended, 3 when \
            not; nothing is changed.
            """)

    @Argument(help: "Guest interfaces. Default: all.", completion: Completions.guests)
    var guests: [String] = []
    @OptionGroup var common: CommonOptions

    func run() {
        let call = common.call
        let named = call.ids(guests)
        call.run(reading: true) { host throws(ControllerError) in
            var (ids, hasFaults) = (named, false)
            if guests.isEmpty {
                let all = try call.allGuests()
                (ids, hasFaults) = (all.records.map(\.guest.id), all.hasFaults)
                if ids.isEmpty, !common.json { Output.line("no guest is prepared") }
            }
            let code = try call.ask(
                ids, isList: guests.isEmpty, on: &host,
                exitCode: { (verification: Verification) in
                    verification.ok ? 0 : ControllerError.Code.precondition.rawValue
                },
                print: { ids.count == 1 && !guests.isEmpty ? show($0) : line($0) },
                { id, host throws(ControllerError) in try Verify.run(id, on: &host) })
            return hasFaults ? ControllerError.Code.worse(code, ControllerError.Code.precondition.rawValue) : code
        }
    }

    private func line(_ verification: Verification) {
        guard let first = verification.problems.first else {
            let unseen = verification.unseen.map { "; not seen: \($0)" }.joined()
            return Output.line("\(verification.headline); proof: \(verification.proof)\(unseen)")
        }
        let others = verification.problems.count - 1
        Output.line(
            "\(verification.headline): \(first)" + (others == 0 ? "" : ", and \(others) more")
                + "; next: \(first.remedy)")
    }

    private func show(_ verification: Verification) {
        Output.line(verification.headline)
        Output.table(verification.addresses.map { ["  " + ($0.ok ? "ok " : "BAD"), $0.address, $0.found] })
        Output.line("  proof: \(verification.proof)")
        for problem in verification.problems { Output.line("  problem: \(problem)") }
        for words in verification.unseen { Output.line("  not seen: \(words)") }
        for frames in verification.dropped { Output.line("  dropped: \(frames)") }
        if let next = verification.next { Output.line("  next: \(next)") }
    }
}

extension Verification {
    fileprivate var headline: String {
        "\(guest): \(ok ? "as intended" : "NOT as intended"), on \(side.rawValue)"
            + (goal.map { ", a bracket to \($0.rawValue) is open" } ?? "")
    }
}
