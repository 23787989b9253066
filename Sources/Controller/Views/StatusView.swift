package import Policy
package import Records

/// The JSON object of `status`.
package struct StatusView: Encodable {
    package let guests: [GuestStatus]
    /// Guests that the daemon's configuration names, and that it has not prepared.
    package let unprepared: [AbsentGuest]
    /// Whether the daemon runs.
    package let daemon: DaemonState
    /// What is wrong with records that are broken, with the guests that were named, with the daemon's file of conditions, and with a full
    /// file system.
    let broken: [ErrorView.Content]
    /// The same, as errors.
    package let faults: [ControllerError]

    private enum CodingKeys: CodingKey { case guests, unprepared, daemon, broken }

    /// Reads what is known of guests; changes nothing.
    ///
    /// - Parameter ids: the guests; all if there are none.
    /// - Throws: ``ControllerError`` of code `precondition`, also for a single guest that is not known.
    package init(of ids: [GuestID], on host: inout Host) throws(ControllerError) {
        var (guests, faults): ([GuestStatus], [ControllerError]) = ([], [])
        let absent = try Status.absent(ids.isEmpty ? nil : ids, on: host)
        if ids.isEmpty { (guests, faults) = try Status.readAll(nil, on: &host) }
        for id in ids where !absent.contains(where: { $0.guest == id.text }) {
            do throws(ControllerError) { guests += try Status.read(id, on: &host) } catch {
                if ids.count == 1 { throw error }
                faults.append(error)
            }
        }
        let journal = try Journal(reading: host.folder)
        if let fault = journal?.daemon?.fault { faults.append(fault) }
        if let fault = host.folder.fullness { faults.append(fault) }
        guests.sort { $0.isBefore($1) }
        unprepared = absent
        daemon = journal?.daemonState ?? .absent
        self.guests = guests
        self.faults = faults
        broken = faults.map(ErrorView.Content.init)
    }
}

/// The JSON object of `metrics`.
package struct MetricsView: Encodable {
    let page: String

    /// - Parameter page: in Prometheus's text format.
    package init(page: String) { self.page = page }
}
