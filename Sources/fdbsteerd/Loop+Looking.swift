import Controller
import Logging
import Policy
import Records
import System

/// Looking at guests, and reporting what was found.
extension Loop {
    /// Looks at guests.
    mutating func look(at suspicions: [Watch.Suspicion]) {
        for suspicion in suspicions {
            let row = suspicion.row
            let name = context.keeper.record(row)?.guest.id.text ?? "\(row)"
            let about: Logger.Metadata = ["guest": "\(name)"]
            do throws(ControllerError) {
                let outcome = try context.keeper.check(row, cause: suspicion.cause)
                pending[row] = nil
                try report(outcome, of: suspicion, about)
                if pending[row] == nil, let due = context.keeper.doubtDue(row) { pending[row] = (due, .stolen) }
            } catch {
                // One guest's trouble is no reason to leave the others.
                report("\(error)", row)
                // What is to be mended, a full disk for example, may be nothing that anybody hears of.
                pending[row] = (monotonicNanoseconds() + Loop.failurePause, suspicion.cause)
            }
        }
    }

    /// Whether a guest is looked at for what was heard of it now; if not, it is later.
    mutating func isDue(_ suspicion: Watch.Suspicion) -> Bool {
        let row = suspicion.row
        guard case .wait(let until, let isNews) = context.keeper.ask(for: suspicion, now: monotonicNanoseconds()) else {
            return true
        }
        if isNews, suspicion.cause == .port {
            let name = context.keeper.record(row)?.guest.id.text ?? "\(row)"
            context.log.warning(
                "its ports change all the time; it is looked at less often", metadata: ["guest": "\(name)"])
        }
        if let known = pending[row], known.at <= until {
            if known.cause == .recorded { pending[row]?.cause = suspicion.cause }
        } else {
            pending[row] = (until, suspicion.cause)
        }
        return false
    }

    /// Takes over what a reading of records has told.
    mutating func take(_ news: Keeper.News) {
        guard news.isNews else { return }
        noteRecords()
        look(at: news.changed)
        for guest in news.worked {
            let heard = pending[guest.row].flatMap { $0.cause == .recorded ? nil : $0 }
            if let heard, guest.hasEnded {
                look(at: [Watch.Suspicion(row: guest.row, cause: heard.cause)])
            } else if heard == nil {
                pending[guest.row] = (guest.at, .recorded)
            }
        }
        following.choose(&context)
    }

    /// Between two looks at a guest that cannot be looked at, in nanoseconds.
    private static let failurePause: Int64 = 5_000_000_000

    /// An inquiry has ended.
    mutating func take(_ end: Keeper.InquiryEnd) {
        let name = context.keeper.record(end.row)?.guest.id.text ?? "\(end.row)"
        if end.isNews {
            let what: Logger.Message =
                if case .answered = end.result { "answers questions" } else { "answers no questions" }
            context.log.info(what, metadata: ["guest": "\(name)", "by": "\(end.side.rawValue)"])
        }
        switch (end.purpose, end.result) {
        case (.acquaintance, _): break
        case (.check(let cause), _): look(at: [Watch.Suspicion(row: end.row, cause: cause)])
        case (.readiness, .answered): following.ready(end.row, by: end.side, &context)
        case (.readiness, _): break
        }
    }

    private mutating func report(
        _ outcome: Keeper.Outcome, of suspicion: Watch.Suspicion, _ guest: Logger.Metadata
    ) throws(ControllerError) {
        let row = suspicion.row
        var about = guest
        switch outcome {
        case .fine:
            if suspicion.cause == .primaryBack, try following.rebindPrimary(row, &context) {
                // A new port learns, and has no gate.
                look(at: [Watch.Suspicion(row: row, cause: .port)])
                if context.keeper.record(row)?.guest.side == .standby { following.comeBack(row, &context) }
            }
            if suspicion.cause == .port, let isUp = context.keeper.watch.primaryCarrier(row) {
                following.handleCarrier(of: row, isUp: isUp, &context)
            }
            context.keeper.set(row, .look, [])
        case .later(let time, let cause):
            pending[row] = (time, cause)
        case .doubtful(let condition, let time, let cause):
            pending[row] = (time, cause)
            if let condition { context.keeper.set(row, .look, [condition]) }
        case .fought(let time, let cause, let takers, let isNews):
            pending[row] = (time, cause)
            if isNews {
                let by = takers.isEmpty ? "" : " by \(takers.joined(separator: ", "))"
                context.keeper.set(
                    row, .look,
                    [
                        Condition(
                            Condition.fought, .problem, "",
                            "something undoes the repairs (\(cause.rawValue)\(by)); they are slowed down",
                            remedy: "\"bridge monitor fdb\" shows what the other one writes")
                    ])
            }
        case .repaired(let report, let cause, let takers):
            if would("repair the guest (\(cause.rawValue))", report, row) { return }
            about["cause"] = "\(cause.rawValue)"
            if !takers.isEmpty { about["by"] = "\(takers.joined(separator: ", "))" }
            context.log.report(report, as: "repaired", about)
            settle(report, row)
        case .yielded(let addresses, let places):
            // The rest of the guest has not been looked at.
            pending[row] = (monotonicNanoseconds(), suspicion.cause)
            let words = addresses.joined(separator: " ")
            about["addresses"] = "\(words)"
            about["seen_at"] = "\(places.joined(separator: ", "))"
            context.log.warning("addresses that the guest asked for are another's", metadata: about)
        case .redirected(let report, let reason):
            if would("move the guest to \(report.to.rawValue), because \(reason)", report, row) { return }
            about["reason"] = "\(reason)"
            // The daemon brings a guest to its standby when its primary is lost.
            context.log.report(
                report, as: "redirected", about, level: report.to == .standby ? .warning : .notice)
            settle(report, row)
        case .recovered(let result):
            about["result"] = "\(result.message)"
            context.log.log(level: result.ok ? .notice : .error, "recovered", metadata: about)
            if result.ok { context.keeper.set(row, .look, []) } else { report(result.message, row) }
        case .renamed(let words):
            context.log.notice("renamed", metadata: about.merging(["names": "\(words)"]) { $1 })
            look(at: [suspicion])
        case .unbracketed(let what):
            // What the rules say of the carrier has not the reason.
            let remedy =
                "\"fdbsteer switch \(context.keeper.record(row)?.guest.id.text ?? "") --to standby\" where the guest receives there"
            context.keeper.set(row, .look, [Condition(Condition.unbracketed, .problem, "", what, remedy: remedy)])
        case .beyondRepair(let what):
            // The rules say the same with a remedy, where they know it.
            if context.keeper.judge(row) { context.keeper.set(row, .look, []) } else { report(what, row) }
        }
    }

    /// Ends what was wrong with a guest, or says that it still is.
    private mutating func settle(_ report: Report, _ row: Int64) {
        if report.failures.isEmpty {
            context.keeper.set(row, .look, [])
        } else {
            self.report(report.failures.joined(separator: "; "), row)
        }
    }

    /// Says what a daemon that only observes would do.
    ///
    /// - Returns: whether it only observes the guest.
    private mutating func would(_ what: String, _ report: Report, _ row: Int64) -> Bool {
        guard report.outcome == .planned else { return false }
        context.keeper.observe(row, .look, report.moves, "it would \(what)")
        return true
    }

    private mutating func report(_ what: String, _ row: Int64) {
        let guest = context.keeper.record(row)?.guest.id.text ?? ""
        context.keeper.set(
            row, .look,
            [
                Condition(
                    Condition.notAsIntended, .problem, "", what,
                    remedy: "\"fdbsteer verify \(guest)\" shows how it stands")
            ])
    }

    /// Tells which conditions have begun or ended, and brings the file of conditions up to date.
    mutating func tellConditions() {
        context.keeper.judgeSome()
        for news in context.keeper.takeConditionNews() {
            let (change, condition) = (news.change, news.change.condition)
            var about: Logger.Metadata = ["guest": "\(news.guest)", "code": "\(condition.code)"]
            if news.untold > 0 { about["untold"] = "\(news.untold)" }
            if change.isOver {
                about["lasted_ms"] = "\((Stopwatch.realTime - change.since) / 1_000_000)"
                about["reason"] = "\(condition.words)"
                context.log.notice("condition over", metadata: about)
            } else {
                about["reason"] = "\(condition.words)"
                about["remedy"] = "\(condition.remedy)"
                context.log.log(
                    level: condition.severity == .problem ? .error : .warning, "condition", metadata: about)
            }
        }
        do throws(ControllerError) {
            try context.keeper.writeConditions()
            mended("conditions")
        } catch {
            report("conditions", error)
        }
    }
}
