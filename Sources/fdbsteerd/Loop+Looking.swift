import Controller
import Logging
import Policy
import Records

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
            } catch {
                // One guest's trouble is no reason to leave the others.
                report("\(error)", row, about)
            }
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
                // A new port learns.
                look(at: [Watch.Suspicion(row: row, cause: .port)])
                following.comeBack(row, &context)
            }
            if suspicion.cause == .port, let isUp = context.keeper.watch.primaryCarrier(row) {
                following.handleCarrier(of: row, isUp: isUp, &context)
            }
            if context.keeper.wards[row]?.condition != nil {
                context.keeper.wards[row]?.condition = nil
                context.log.notice("as intended again", metadata: about)
                context.keeper.note(.conditionOver, row, "as intended again")
            }
        case .later(let time, let cause):
            pending[row] = (time, cause)
        case .fought(let time, let cause, let isNews):
            pending[row] = (time, cause)
            if isNews {
                about["cause"] = "\(cause.rawValue)"
                context.log.warning("something fights the repairs; they are slowed down", metadata: about)
            }
        case .repaired(let report, let cause):
            about["cause"] = "\(cause.rawValue)"
            context.log.report(report, as: "repaired", about)
        case .redirected(let report, let reason):
            about["reason"] = "\(reason)"
            context.log.report(report, as: "redirected", about)
        case .recovered(let result):
            about["result"] = "\(result.words)"
            context.log.log(level: result.ok ? .notice : .error, "recovered", metadata: about)
        case .renamed(let words):
            context.log.notice("renamed", metadata: about.merging(["names": "\(words)"]) { $1 })
            look(at: [suspicion])
        case .beyondRepair(let what):
            report(what, row, about)
        }
    }

    /// Reports a condition once.
    private mutating func report(_ what: String, _ row: Int64, _ about: Logger.Metadata) {
        guard context.keeper.wards[row]?.condition != what else { return }
        context.keeper.wards[row]?.condition = what
        context.log.error("not as intended", metadata: about.merging(["reason": "\(what)"]) { $1 })
        context.keeper.note(.condition, row, what)
    }
}
