import ArgumentParser
import Controller
import Glibc
import Policy
import Records
import System

/// `fdbsteer verify`.
struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Compare what is intended for a guest with the table and with hardware.",
        discussion: "Exit code 0 when everything is as intended, 3 when not; nothing is changed.")

    @Argument(help: "The guest interface.")
    var guest: String
    @OptionGroup var common: CommonOptions

    func run() {
        let id = common.call.check { () throws(ControllerError) in try GuestID(guest) }
        common.call.run(reading: true) { host throws(ControllerError) in
            let verification = try Verify.run(id, on: &host)
            if common.json {
                Output.json(verification)
            } else {
                Output.line(
                    "\(guest): \(verification.ok ? "as intended" : "NOT as intended"), on \(verification.side.rawValue)"
                )
                Output.table(verification.addresses.map { ["  " + ($0.ok ? "ok " : "BAD"), $0.address, $0.found] })
                Output.line("  proof: \(verification.proof)")
                for problem in verification.problems { Output.line("  problem: \(problem)") }
                for refused in verification.refused { Output.line("  dropped: \(refused)") }
            }
            return verification.ok ? 0 : ControllerError.Code.precondition.rawValue
        }
    }
}

/// `fdbsteer status`.
struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show the prepared guests, what is under way, and what is wrong with their ports.")

    /// The JSON object.
    private struct View: Encodable {
        let guests: [GuestStatus]
        /// What is wrong with records that are broken.
        let broken: [String]
    }

    @Argument(help: "One guest interface.")
    var guest: String?
    @OptionGroup var common: CommonOptions

    func run() {
        let id = common.call.check { () throws(ControllerError) -> GuestID? in
            if let guest { try GuestID(guest) } else { nil }
        }
        common.call.run(reading: true) { host throws(ControllerError) in
            let (guests, faults) = try Status.readAll(id, on: &host)
            if common.json {
                Output.json(View(guests: guests, broken: faults.map(\.description)))
            } else if guests.isEmpty {
                Output.line("no guest is prepared")
            } else {
                Output.table(
                    [["GUEST", "SIDE", "STATE", "BRIDGE", "PRIMARY", "STANDBY", "UPLINK", "ADDRESSES"]]
                        + guests.map { guest in
                            [
                                guest.guest, guest.side.rawValue, guest.state, guest.bridge, guest.primary?.name ?? "-",
                                (guest.standby ?? guest.local)?.name ?? "-", guest.uplink?.name ?? "-",
                                guest.addresses.prefix(2).joined(separator: " ")
                                    + (guest.addresses.count > 2 ? " and \(guest.addresses.count - 2) more" : ""),
                            ]
                        })
                for guest in guests {
                    let conditions = guest.conditions ?? []
                    for problem in guest.problems ?? [] {
                        let age = conditions.first { $0.words == problem }.map { ", for \($0.age)" } ?? ""
                        Output.line("\(guest.guest): problem: \(problem)\(age)")
                    }
                    // What the look of just now has not told already.
                    for condition in conditions where guest.problems?.contains(condition.words) != true {
                        Output.line(
                            "\(guest.guest): \(condition.severity.rawValue): \(condition.words), for \(condition.age) "
                                + "(\(condition.remedy))")
                    }
                    guard let bracket = guest.bracket, guest.phase == "bracketed" else { continue }
                    Output.line("\(guest.guest): bracket to \(bracket.goal.rawValue) \(bracket.words)")
                    Output.line(
                        "  closes by: fdbsteer switch \(guest.guest) --to \(bracket.goal.rawValue) --close, once the "
                            + "guest is there; fdbsteer abort \(guest.guest) gives it up")
                }
            }
            for fault in faults { Output.error("fdbsteer: \(fault)") }
            return faults.isEmpty ? 0 : ControllerError.Code.precondition.rawValue
        }
    }
}

extension ConditionView {
    /// For how long it has been so.
    var age: String {
        let age = max(0, Stopwatch.realTime - sinceNanoseconds)
        let units: [Int64] = [3_600_000_000_000, 60_000_000_000, 1_000_000_000]
        // Two hours are told in hours, less than that in minutes.
        let unit = units.first { age >= 2 * $0 } ?? 1_000_000
        return DurationText.text(age - age % unit)
    }
}

extension GuestStatus {
    /// The state in a few words.
    var state: String {
        switch place {
        case .here: break
        case .earlierBoot: return "void since reboot"
        case .goneNamespace: return "void: its network namespace is gone"
        case .otherNamespace: return "in another network namespace"
        }
        if phase == "pinned" {
            return (sticky ? "pinned sticky" : "pinned") + (gate.map { ", gate \($0.rawValue)" } ?? "")
        }
        let arrow = goal.map { " to \($0.rawValue)" } ?? ""
        if let wait, running { return phase + arrow + " for \(wait.words)" }
        if phase == "bracketed" { return "bracket\(arrow)" }
        return phase + arrow + (running ? "" : " (process gone: abort)")
    }
}
