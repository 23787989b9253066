import Controller
import JSON
import Policy
import Records
import System

extension Method {
    /// The verbs that change something.
    static let changing: [Method] = [
        verb(
            "Prepare", "Pin a guest's addresses where the guest is now.",
            [
                Parameter("guest", .string, isOptional: false), Parameter("bridge", .string, isOptional: false),
                Parameter("primary", .string), Parameter("standby", .string), Parameter("port", .string),
                Parameter("uplink", .string), Parameter("pf", .string), Parameter("vf", .int),
                Parameter("accept_unusable_nic", .bool), Parameter("addresses", .strings),
                Parameter("exclusive", .string), Parameter("ip", .strings), Parameter("neighbour", .strings),
                Parameter("at", .side),
                Parameter("leak", .leak), Parameter("kind", .kind), Parameter("no_guard", .bool),
                Parameter("gate", .bool), Parameter("replay", .replay),
            ] + Parameter.proof + Parameter.dryRun
        ) { exchange throws(ControllerError) in
            let parameters = exchange.parameters
            let (id, verbOptions) = (try parameters.guest(), try parameters.options())
            var options = try parameters.preparation()
            if !options.neighbours.isEmpty, exchange.connection.peer.user != 0 {
                throw ControllerError(
                    .usage,
                    "only root may have neighbours follow a guest: they say where this host's own packets go",
                    remedy: "leave neighbour out, or call fdbsteer prepare as root")
            }
            let kept = try exchange.host()
            if let port = parameters.text("exclusive") {
                options.addresses = try Prepare.addresses(behind: port, of: id, options, on: &kept.host)
            }
            return Answer(try Prepare(options.request(id), options: verbOptions).run(on: &kept.host))
        },
        verb(
            "Switch",
            """
            Redirect guests' addresses to a side, at once or at a signal (until). A client that
            goes away ends its wait; a move that has begun goes on.
            """,
            Parameter.guests + [
                Parameter("all", .bool), Parameter("to", .side, isOptional: false), Parameter("strategy", .strategy),
                Parameter("until", .strings), Parameter("timeout", .string), Parameter("on_timeout", .onTimeout),
                Parameter("close", .bool), Parameter("allow_duplicates", .bool), Parameter("bracket_max_rate", .int),
            ] + Parameter.proof + Parameter.dryRun
        ) { exchange throws(ControllerError) in try exchange.redirect() },
        verb(
            "Abort", "End a redirection that did not end, on the side where the guest was.",
            Parameter.guest + Parameter.dryRun
        ) {
            exchange throws(ControllerError) in
            let (id, isDry) = (try exchange.parameters.guest(), exchange.parameters.flag("dry_run"))
            let kept = try exchange.host()
            return Answer(try Abort(options: VerbOptions(dryRun: isDry)).runEndingWait(id, on: &kept.host))
        },
        verb(
            "Release", "Give guests' entries back to the bridge, and their ports their settings.",
            [Parameter("guests", .strings, isOptional: false)] + [
                Parameter("forget", .bool), Parameter("if_exists", .bool),
            ] + Parameter.dryRun
        ) { exchange throws(ControllerError) in
            let parameters = exchange.parameters
            let release = Release(
                options: VerbOptions(dryRun: parameters.flag("dry_run")), forgets: parameters.flag("forget"))
            let kept = try exchange.host()
            return try exchange.each(try parameters.guests(), on: &kept.host) { id, host throws(ControllerError) in
                let released = try release.run(id, ifExists: parameters.flag("if_exists"), on: &host)
                if case .released(let report) = released { return Answer(report) }
                return Answer(released)
            }
        },
        verb(
            "Announce", "Tell the physical network, on the uplink, that a guest is on this host.",
            Parameter.guest + [Parameter("ip", .strings), Parameter("count", .int), Parameter("interval", .string)]
                + Parameter.dryRun
        ) { exchange throws(ControllerError) in
            let parameters = exchange.parameters
            let request = AnnouncementRequest(
                ips: try parameters.ips(), count: Int(try parameters.number("count", in: 1...60, default: 5)),
                interval: try parameters.duration("interval", default: 100_000_000, atMost: 1_000_000_000))
            let id = try parameters.guest()
            let kept = try exchange.host()
            return Answer(try Announce.run(id, request, dryRun: parameters.flag("dry_run"), on: &kept.host))
        },
        verb(
            "Reconcile", "Bring every guest to the side that the journal says, and clear up after dead processes.",
            Parameter.dryRun
        ) { exchange throws(ControllerError) in
            let kept = try exchange.host()
            let report = try Reconcile(options: VerbOptions(dryRun: exchange.parameters.flag("dry_run"))).run(
                on: &kept.host)
            let failed = (report.guests + report.probes).filter { !$0.ok }
            return Answer(
                report, exitCode: report.exitCode,
                complaint: failed.map { "\($0.guest): \($0.message)" }.joined(separator: "; "))
        },
    ]
}

extension Exchange {
    /// Asks a verb about guests one after the other, as the command line does; one that was named alone answers as the verb does.
    ///
    /// - Parameter isList: the answer has a list, also of one or none.
    func each(
        _ ids: [GuestID], isList: Bool = false, on host: inout Host, alsoFailed: Int32 = 0,
        _ verb: (GuestID, inout Host) throws(ControllerError) -> Answer
    ) throws(ControllerError) -> Answer {
        guard !ids.isEmpty || isList else {
            throw ControllerError(.usage, "no guest is named", remedy: "name the guest, or several")
        }
        if ids.count == 1, !isList { return try verb(ids[0], &host) }
        var (answers, worst): ([JSON], Int32) = ([], alsoFailed)
        var complaints: [String] = []
        for id in ids {
            do throws(ControllerError) {
                let answer = try verb(id, &host)
                worst = ControllerError.Code.worse(worst, answer.exitCode)
                if answer.exitCode != 0 { complaints.append("\(id): \(answer.complaint)") }
                answers.append(answer.object)
            } catch {
                worst = ControllerError.Code.worse(worst, error.code.rawValue)
                complaints.append("\(id): \(error)")
                answers.append((try? JSON(encoding: GuestAnswer<Report>.refused(id, error))) ?? .null)
            }
        }
        return Answer(
            object: .object([JSON.Member("guests", .array(answers))]), exitCode: worst,
            complaint: complaints.joined(separator: "; "))
    }

    fileprivate func redirect() throws(ControllerError) -> Answer {
        guard let side = parameters.side("to") else {
            throw ControllerError(.usage, "no side is named", remedy: "name one by to")
        }
        let (named, isAll) = (try parameters.guests(), parameters.flag("all"))
        guard named.isEmpty == isAll else {
            throw ControllerError(
                .usage, isAll ? "all takes every guest: name none" : "no guest is named",
                remedy: "name the guest, or several, or take all")
        }
        let wait = try self.wait()
        if wait != nil, isAll || named.count > 1 {
            throw ControllerError(
                .usage, "each guest has signals of its own: until is for one guest", remedy: "call it for each")
        }
        let strategy = parameters.text("strategy").flatMap(Strategy.init) ?? .cut
        let contradiction = Redirect.contradiction(
            strategy, waits: wait != nil, closes: parameters.flag("close"),
            limits: (parameters.has("timeout"), parameters.has("on_timeout")),
            names: ("until", "timeout", "on_timeout", "close"))
        if let contradiction {
            throw ControllerError(.usage, contradiction, remedy: "nothing was done: call Switch without it")
        }
        var options = try parameters.options()
        if isAll { options.requireProof = true }
        let redirect = Redirect(
            to: side, strategy: strategy, until: wait, closes: parameters.flag("close"),
            closesWithoutSignal: parameters.text("on_timeout") == "abort",
            options: options)
        let kept = try self.host()
        var (ids, faults): ([GuestID], Int32) = (named, 0)
        if isAll, let nearby = try Journal(reading: folder)?.nearby() {
            ids = nearby.here.filter { $0.guest.port(of: side) != nil }.map(\.guest.id)
            if !nearby.faults.isEmpty { faults = ControllerError.Code.precondition.rawValue }
        }
        return try each(ids, isList: isAll, on: &kept.host, alsoFailed: faults) { id, host throws(ControllerError) in
            Answer(try redirect.run(id, on: &host))
        }
    }

    /// What is to be waited for; nil for nothing.
    private func wait() throws(ControllerError) -> SignalWait? {
        var signals: [Signal] = []
        for text in parameters.texts("until") {
            let signal = try Signal(text)
            switch signal {
            case .word, .command:
                throw ControllerError(
                    .usage, "the local API waits for no \(text)", remedy: "wait for it yourself, and call Switch then")
            case .qmp where connection.peer.user != 0:
                throw ControllerError(
                    .usage, "only root may have fdbsteerd talk to a monitor of QEMU",
                    remedy: "wait for a signal of the guest's ports, or for the event yourself")
            default: signals.append(signal)
            }
        }
        let timeout = try parameters.duration(
            "timeout", default: SignalWait.defaultTimeout, atMost: 24 * 3_600_000_000_000)
        return signals.isEmpty ? nil : SignalWait(signals: signals, timeout: timeout)
    }
}

extension Parameters {
    fileprivate func preparation() throws(ControllerError) -> PreparationOptions {
        var options = PreparationOptions()
        options.bridge = text("bridge") ?? ""
        (options.primary, options.standby) = (text("primary"), text("standby"))
        (options.port, options.uplink, options.pf) = (text("port"), text("uplink"), text("pf"))
        if has("vf") { options.vf = UInt32(try number("vf", in: 0...65_535, default: 0)) }
        options.acceptsUnusableNIC = flag("accept_unusable_nic")
        options.addresses = try addresses()
        guard options.addresses.isEmpty == has("exclusive") else {
            throw ControllerError(
                .usage, has("exclusive") ? "exclusive finds the addresses" : "no address is named",
                remedy: has("exclusive")
                    ? "leave addresses out"
                    : "name the guest's MACs by addresses, or by exclusive a port behind which it alone lives")
        }
        options.ips = try ips()
        options.neighbours = texts("neighbour")
        (options.side, options.kind) = (side("at"), text("kind").flatMap(GuestKind.init))
        options.allowsLeak = text("leak") == "allow"
        (options.isGuarded, options.isGated) = (!flag("no_guard"), flag("gate"))
        options.replay = text("replay").flatMap(ReplayMode.init)
        return options
    }
}
