import Controller
import Exposition
import Policy
import Records

extension Method {
    /// The verbs that change nothing.
    static let reading: [Method] = [
        verb(
            "Preflight", "Say why a redirection would lose, leak or blackhole frames, of a guest or of ports.",
            [
                Parameter("guest", .string), Parameter("bridge", .string), Parameter("primary", .string),
                Parameter("standby", .string), Parameter("port", .string), Parameter("uplink", .string),
                Parameter("addresses", .strings), Parameter("at", .side), Parameter("waive", .strings),
            ], reads: true
        ) { exchange throws(ControllerError) in
            let report = try exchange.lookAhead()
            let failures = report.findings.filter(\.severity.isFailure)
            return Answer(
                report, exitCode: report.exitCode, complaint: failures.map(\.headline).joined(separator: "; "),
                remedy: failures.first?.remedy)
        },
        verb("Status", "The prepared guests, what is under way, and what is wrong.", Parameter.guests, reads: true) {
            exchange throws(ControllerError) in
            let ids = try exchange.parameters.guests()
            let kept = try exchange.host()
            let view = try StatusView(of: ids, on: &kept.host)
            return Answer(
                view, exitCode: view.faults.isEmpty ? 0 : ControllerError.Code.precondition.rawValue,
                complaint: view.faults.map(\.description).joined(separator: "; "))
        },
        verb(
            "Verify", "Compare what is intended for guests with the table and with hardware. Default: all guests.",
            Parameter.guests, reads: true
        ) { exchange throws(ControllerError) in
            var (ids, faults): ([GuestID], Int32) = (try exchange.parameters.guests(), 0)
            let isAll = ids.isEmpty
            if isAll, let nearby = try Journal(reading: exchange.folder)?.nearby() {
                ids = nearby.here.map(\.guest.id)
                if !nearby.faults.isEmpty { faults = ControllerError.Code.precondition.rawValue }
            }
            let kept = try exchange.host()
            return try exchange.each(ids, isList: isAll, on: &kept.host, alsoFailed: faults) {
                id, host throws(ControllerError) in
                let found = try Verify.run(id, on: &host)
                return Answer(
                    found, exitCode: found.ok ? 0 : ControllerError.Code.precondition.rawValue,
                    complaint: found.problems.map { "\($0)" }.joined(separator: "; "), remedy: found.next)
            }
        },
        verb(
            "Topology", "Bridges, ports, entries, guests, and what would block a redirection.",
            [Parameter("bridge", .string)], reads: true
        ) { exchange throws(ControllerError) in
            let kept = try exchange.host()
            return Answer(TopologyView(try Topology.read(bridge: exchange.parameters.text("bridge"), on: &kept.host)))
        },
        verb(
            "History",
            """
            The last redirections, the newest first; or all about one (report), the guest's last
            or that of a number. since_ns: nanoseconds since 1970.
            """,
            [
                Parameter("guest", .string), Parameter("limit", .int), Parameter("since_ns", .int),
                Parameter("outcome", .strings), Parameter("report", .bool), Parameter("number", .int),
            ], reads: true
        ) { exchange throws(ControllerError) in
            let parameters = exchange.parameters
            let id = parameters.has("guest") ? try parameters.guest() : nil
            if parameters.flag("report") || parameters.has("number") {
                return Answer(
                    try HistoryReading.report(id, number: parameters.integer("number"), in: exchange.folder))
            }
            for word in parameters.texts("outcome") where !HistoryView.outcomes.contains(word) {
                throw ControllerError(
                    .usage, "\(word) is no outcome",
                    remedy: "there are \(HistoryView.outcomes.joined(separator: ", "))")
            }
            return Answer(
                try HistoryView(
                    of: id, since: parameters.integer("since_ns"), outcomes: parameters.texts("outcome"),
                    limit: Int(try parameters.number("limit", in: 1...100_000, default: 50)), in: exchange.folder))
        },
        verb("Metrics", "What history and journal amount to, in Prometheus's text format.", [], reads: true) {
            exchange throws(ControllerError) in
            var reader = MetricsReader(folder: exchange.folder)
            return Answer(
                MetricsView(page: String(decoding: Exposition.render(try reader.read()), as: UTF8.self)))
        },
    ]
}

extension Exchange {
    fileprivate func lookAhead() throws(ControllerError) -> PreflightReport {
        let ahead = LookAhead(waiving: try parameters.waived())
        let names = ["bridge", "primary", "standby", "port", "uplink", "at"].filter(parameters.has)
        if parameters.has("guest") {
            guard names.isEmpty, parameters.texts("addresses").isEmpty else {
                throw ControllerError(
                    .usage, "a prepared guest has its ports", remedy: "name the guest, or ports, not both")
            }
            let id = try parameters.guest()
            let kept = try self.host()
            return try ahead.run(id, on: &kept.host)
        }
        let addresses = try parameters.addresses()
        let (primary, standby, port) = (parameters.text("primary"), parameters.text("standby"), parameters.text("port"))
        guard let bridge = parameters.text("bridge"), !addresses.isEmpty, (primary == nil) == (standby == nil),
            (primary == nil) != (port == nil)
        else {
            throw ControllerError(
                .usage, "neither a guest nor its ports are named",
                remedy: "name a prepared guest, or bridge, primary and standby (or port), and addresses")
        }
        let kept = try self.host()
        return try ahead.run(
            PreflightRequest(
                bridge: bridge, primary: primary, standby: standby ?? port ?? "", uplink: parameters.text("uplink"),
                addresses: addresses, side: parameters.side("at")), on: &kept.host)
    }
}
