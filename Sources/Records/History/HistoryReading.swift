import CSQLite
package import Policy

extension DatabaseError {
    /// The error of somebody who asks the history.
    package var unreadable: ControllerError {
        let remedy =
            switch code & 0xff {
            // It is made of the log of events when it is first asked, and brought up to date.
            case SQLITE_FULL: "free some space there"
            case SQLITE_CORRUPT, SQLITE_NOTADB: "move that file away: it is made anew of the log of events beside it"
            case SQLITE_BUSY: "another program holds it: try again when that has ended"
            default: remedy
            }
        return ControllerError(.precondition, "cannot read the history \(self)", remedy: remedy)
    }
}

/// Reading the history, with all that happened until now.
package struct HistoryReading {
    /// The newest redirections that match a filter, newest first.
    package static func entries(
        _ filter: HistoryFilter, in folder: StateFolder
    ) throws(ControllerError) -> [HistoryEntry] {
        do throws(DatabaseError) {
            return try History.current(in: folder)?.entries(filter) ?? []
        } catch {
            throw error.unreadable
        }
    }

    /// All that the history knows of one redirection.
    ///
    /// - Parameter number: as ``entries(_:in:)`` numbers them; nil for the guest's last.
    /// - Throws: ``ControllerError`` of code `precondition` when there is no such redirection.
    package static func report(
        _ id: GuestID?, number: Int64?, in folder: StateFolder
    ) throws(ControllerError) -> HistoryReport {
        let missing = ControllerError(
            .precondition, "the history has no such redirection",
            remedy: "\"fdbsteer history\" lists them with their numbers")
        do throws(DatabaseError) {
            if let history = try History.current(in: folder) {
                let last = try history.lastNumber(of: id?.text)
                if let number = number ?? last, let report = try history.report(number),
                    id == nil || report.entry.guest == id?.text
                {
                    return report
                }
            }
        } catch {
            throw error.unreadable
        }
        throw missing
    }
}

/// The JSON object of `history`.
package struct HistoryView: Encodable {
    /// The newest first.
    package let history: [HistoryEntry]

    /// Reads the newest redirections that match a filter.
    ///
    /// - Parameter id: of one guest; nil for all.
    /// - Throws: ``ControllerError`` of code `precondition`, also for a guest that neither history nor journal has.
    package init(
        of id: GuestID?, since: Int64?, outcomes: [String], limit: Int, in folder: StateFolder
    ) throws(ControllerError) {
        history = try HistoryReading.entries(
            HistoryFilter(guest: id?.text, since: since, outcomes: outcomes, limit: limit), in: folder)
        if let id, history.isEmpty { _ = try Journal.open(folder, for: id).guest(id, .anywhere) }
    }

    /// What `--outcome` may name.
    package static let outcomes =
        Report.Result.allCases.filter { $0 != .already && $0 != .planned }.map(\.rawValue) + ["timeout"]
}
