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
                fail("\(error)", row, suspicion.cause)
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

    /// A look at a guest, or what it led to, that failed.
    struct Failure {
        /// What failed, and why.
        var words: String
        /// When it is tried again (CLOCK_MONOTONIC, nanoseconds), and the pause before that.
        var due: Int64 = 0
        var pause: Int64 = 0
        let cause: Watch.Cause

        /// The first pause and the longest; each is twice as long as the one before.
        static let firstPause: Int64 = 5_000_000_000
        static let longestPause: Int64 = 60_000_000_000
    }

    /// A guest could not be looked at, or not be brought to where it belongs: it is tried again. What is to be mended, a full disk for
    /// example, may be nothing that anybody hears of.
    private mutating func fail(_ what: String, _ row: Int64, _ cause: Watch.Cause) {
        report(what, row)
        let now = monotonicNanoseconds()
        var failure = failures[row] ?? Failure(words: what, cause: cause)
        failure.words = what
        // What is heard of the guest in between is a reason for an attempt, and none for a longer pause.
        if failure.due <= now {
            failure.pause = min(max(2 * failure.pause, Failure.firstPause), Failure.longestPause)
            failure.due = now + failure.pause
        }
        failures[row] = failure
        pending[row] = (failure.due, cause)
    }

    /// What kept others from being written may have kept guests from being moved: they need not wait for their time.
    private mutating func hurry() {
        for (row, failure) in failures { pending[row] = (0, failure.cause) }
    }

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
        if outcome.replacesFailure { failures[row] = nil }
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
            succeed(row)
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
        case .repaired(let report, let cause, let takers, let places):
            if would("repair the guest (\(cause.rawValue))", report, row) { return }
            about["cause"] = "\(cause.rawValue)"
            if !takers.isEmpty { about["by"] = "\(takers.joined(separator: ", "))" }
            if !places.isEmpty { about["found_on"] = "\(places.joined(separator: ", "))" }
            tell(report, as: "repaired", about, level: .notice, row)
            settle(report, row, suspicion.cause)
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
            tell(report, as: "redirected", about, level: report.to == .standby ? .warning : .notice, row)
            settle(report, row, suspicion.cause)
        case .bracketed(let report, let reason):
            if would("open a bracket to \(report.to.rawValue), because \(reason)", report, row) { return }
            about["reason"] = "\(reason)"
            tell(report, as: "bracket opened", about, level: .warning, row)
            settle(report, row, suspicion.cause)
        case .recovered(let result):
            about["result"] = "\(result.message)"
            context.log.log(level: result.ok ? .notice : .error, "recovered", metadata: about)
            if result.ok { succeed(row) } else { fail(result.message, row, suspicion.cause) }
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

    /// Logs what was done to a guest; a failure once, however often it is tried.
    private func tell(
        _ report: Report, as event: Logger.Message, _ about: Logger.Metadata, level: Logger.Level, _ row: Int64
    ) {
        if !report.failures.isEmpty, failures[row]?.words == report.failure { return }
        context.log.report(report, as: event, about, level: level)
    }

    /// Ends what was wrong with a guest, or says that it still is, and that it is tried again.
    private mutating func settle(_ report: Report, _ row: Int64, _ cause: Watch.Cause) {
        if report.failures.isEmpty {
            succeed(row)
        } else {
            fail(report.failure, row, cause)
        }
    }

    /// A guest is as it should be.
    private mutating func succeed(_ row: Int64) {
        failures[row] = nil
        context.keeper.set(row, .look, [])
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
                context.log.log(level: condition.severity.level, "condition", metadata: about)
            }
        }
        do throws(ControllerError) {
            if try context.keeper.writeConditions(), mended("conditions") { hurry() }
        } catch {
            report("conditions", error)
        }
    }
}

extension Report {
    /// What failed, and why.
    fileprivate var failure: String {
        "the \(verb.rawValue) to \(to.rawValue) failed: \(failures.joined(separator: "; "))"
    }
}

extension Condition.Severity {
    fileprivate var level: Logger.Level {
        switch self {
        case .problem: .error
        case .warning: .warning
        case .note: .info
        }
    }
}
