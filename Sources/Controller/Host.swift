import Netlink
package import Policy
package import Records
import System

/// fdbsteer on one network namespace of one host: the kernel, and the records of its guests.
///
/// It belongs to the thread that made it, and to that thread's network namespace. Verbs are run on it.
package struct Host: ~Copyable {
    var kernel: Kernel
    let folder: StateFolder
    let history: HistoryLog

    /// - Parameters:
    ///   - folder: where the journal and the history are; nothing is made before a verb needs it.
    ///   - stays: the process is to live for many redirections, and keeps the history open.
    /// - Throws: ``ControllerError`` of code `precondition` when no netlink socket can be had.
    package init(folder: StateFolder, stays: Bool = false) throws(ControllerError) {
        kernel = try Kernel()
        self.folder = folder
        history = stays ? .database(HistoryDatabase(folder)) : .backlog(folder)
    }

    /// Appends the report of a verb that changed something, or tried to, to the history.
    func book(_ report: Report) -> Report {
        guard report.isEvent else { return report }
        var report = report
        if let note = history.append(report) { report.notes.append(note) }
        return report
    }
}
