package import Policy

/// Whose a port is.
extension Claim {
    /// Whether a port is one that another guest of this boot and network namespace was prepared for.
    ///
    /// - Parameter port: its interface index.
    package func isUsedByOthers(_ port: Int32) throws(ControllerError) -> Bool {
        let (journal, row) = (journal, record.row)
        return try journal.reading { () throws(DatabaseError) in
            try journal.database.run(
                "SELECT 1 FROM port JOIN guest ON guest.id = port.guest WHERE port.ifindex = ? "
                    + "AND guest.id != ? AND guest.namespace = ? AND guest.boot = ? AND port.role != 'bridge' LIMIT 1",
                .integer(Int64(port)), .integer(row), .integer(journal.namespace), .text(journal.boot)
            ).first != nil
        }
    }

    /// Whether another guest's open bracket on the same standby has made that port's clsact.
    package func sharesClsact() throws(ControllerError) -> Bool {
        let (journal, own) = (journal, record)
        return try journal.records().contains {
            $0.boot == journal.boot && $0.row != own.row && $0.guest.standby.index == own.guest.standby.index
                && $0.bracket?.ownsClsact == true
        }
    }
}
