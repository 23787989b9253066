/// Whose a port is.
extension Journal {
    /// Which of some ports other guests of this boot and network namespace were prepared for.
    ///
    /// - Parameters:
    ///   - ports: interface indexes.
    ///   - row: the guest that does not count.
    func used(_ ports: Set<Int32>, byOthersThan row: Int64) throws(ControllerError) -> Set<Int32> {
        let list = ports.map(String.init).joined(separator: ",")
        return try reading { () throws(DatabaseError) in
            let rows = try database.run(
                "SELECT port.ifindex FROM port JOIN guest ON guest.id = port.guest WHERE port.ifindex IN (\(list)) "
                    + "AND guest.id != ? AND guest.namespace = ? AND guest.boot = ? AND port.role != 'bridge'",
                .integer(row), .integer(namespace), .text(boot))
            return Set(rows.compactMap { $0.integer(0).map(Int32.init(truncatingIfNeeded:)) })
        }
    }
}
