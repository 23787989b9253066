package import Policy

/// Reading the history, with all that happened until now.
package struct HistoryReading {
    /// The newest redirections that match a filter, newest first.
    package static func entries(
        _ filter: HistoryFilter, in folder: StateFolder
    ) throws(ControllerError) -> [HistoryEntry] {
        do throws(DatabaseError) {
            return try History.current(in: folder)?.entries(filter) ?? []
        } catch {
            throw ControllerError(.precondition, "cannot read the history \(error)", remedy: "run as root")
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
            throw ControllerError(.precondition, "cannot read the history \(error)", remedy: "run as root")
        }
        throw missing
    }
}
