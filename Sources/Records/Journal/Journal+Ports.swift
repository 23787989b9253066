package import Policy

/// The owners of ports.
extension Journal {
    /// Whether another guest of this boot and network namespace was prepared with a port.
    ///
    /// - Parameters:
    ///   - port: the port's interface index.
    ///   - row: the guest to ignore.
    package func isUsed(_ port: Int32, byOthersThan row: Int64) throws(ControllerError) -> Bool {
        try reading { () throws(DatabaseError) in
            try database.run(
                "SELECT 1 FROM port JOIN guest ON guest.id = port.guest WHERE port.ifindex = ? "
                    + "AND guest.id != ? AND guest.namespace = ? AND guest.boot = ? AND port.role != 'bridge' LIMIT 1",
                .integer(Int64(port)), .integer(row), .integer(namespace), .text(boot)
            ).first != nil
        }
    }
}
