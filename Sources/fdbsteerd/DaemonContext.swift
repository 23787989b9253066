import Configuration
import Controller
import Logging
import Policy
import Switchdev
import System

/// What the parts of the daemon share; all of them run on the loop's thread.
struct DaemonContext: ~Copyable {
    var keeper: Keeper
    var configuration: DaemonConfiguration
    var log: Logger
    /// What is waited for; a followed guest's by its row.
    var descriptors: EventSet

    /// For descriptors that belong to no guest: the loop looks at everything in each turn.
    static let ownToken: Int64 = -4
}

extension Logger {
    /// Logs what was done to a guest.
    ///
    /// - Parameter level: of one that was done; one that failed is an error.
    func report(
        _ report: Report, as event: Logger.Message, _ about: Logger.Metadata, level: Logger.Level = .notice
    ) {
        var about = about
        about["from"] = "\(report.from.rawValue)"
        about["to"] = "\(report.to.rawValue)"
        about["entries"] = "\(report.addresses.count)"
        about["move_us"] = "\(report.timings.moveNanoseconds / 1000)"
        if let proof = report.proofStatus { about["proof"] = "\(proof.rawValue)" }
        if report.failures.isEmpty {
            log(level: level, event, metadata: about)
        } else {
            about["failures"] = "\(report.failures.joined(separator: "; "))"
            error("\(event), but failed", metadata: about)
        }
    }
}
