package import Policy

/// Reading the history, with all that happened until now.
package struct HistoryReading {
    /// The last redirections, the newest first.
    ///
    /// - Parameters:
    ///   - id: of one guest, nil for all.
    ///   - limit: at most so many.
    package static func entries(
        _ id: GuestID?, limit: Int, in folder: StateFolder
    ) throws(ControllerError) -> [HistoryEntry] {
        do throws(DatabaseError) {
            return try History.current(in: folder)?.entries(guest: id?.text, limit: limit) ?? []
        } catch {
            throw ControllerError(.precondition, "cannot read the history \(error)", remedy: "run as root")
        }
    }

    /// All that the history knows of one redirection.
    ///
    /// - Parameter number: as ``entries(_:limit:in:)`` numbers them; nil for the guest's last.
    /// - Throws: ``ControllerError`` of code `precondition` when there is no such redirection.
    package static func report(
        _ id: GuestID?, number: Int64?, in folder: StateFolder
    ) throws(ControllerError) -> HistoryReport {
        let missing = ControllerError(
            .precondition, "the history has no such redirection",
            remedy: "\"fdbsteer history\" lists them with their numbers")
        do throws(DatabaseError) {
            if let history = try History.current(in: folder) {
                let last = try history.entries(guest: id?.text, limit: 1).first?.id
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
