public import ArgumentParser
import Controller
import FDB
import Policy
import Switchdev

extension Side: ExpressibleByArgument {}
extension GuestKind: ExpressibleByArgument {}
extension Strategy: ExpressibleByArgument {}

/// `fdbsteer prepare`.
struct PrepareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prepare", abstract: "Pin a guest's addresses where the guest is now.")

    @Argument(help: "A name for the guest interface.")
    var guest: String
    @Option(help: "The bridge.")
    var bridge: String
    @Option(
        help:
            "The bridge port of the VF: its representor, the driver's name of it (pf0vf3), or the VF (pci/0000:03:00.5)."
    )
    var primary: String?
    @Option(help: "The bridge port of the paravirtual NIC (tap).")
    var standby: String?
    @Option(
        help: """
            Instead of --primary and --standby, for a guest that has one port on each host: its tap or veth, or the \
            representor of a VF that migrates along.
            """)
    var port: String?
    @Option(
        help: """
            The bridge port behind which the guest is reached while it is on another host; with --pf the one that goes \
            to the NIC. Default with --pf: the physical function itself.
            """)
    var uplink: String?
    @Option(help: "Instead of --primary, for a NIC in legacy mode: the interface of the physical function.")
    var pf: String?
    @Option(help: "The number of the guest's VF, with --pf.")
    var vf: UInt32?
    @Flag(help: "With --pf: accept a NIC that \"probe mac-filter\" found not usable for failover.")
    var acceptUnusableNic = false
    @Option(
        name: .customLong("address"), parsing: .singleValue,
        help:
            "MAC or MAC/VLAN; several are separated by commas, or given one by one. On a bridge that filters VLANs a MAC alone means the ports' PVID."
    )
    var addresses: [String]
    @Option(
        help: ArgumentHelp(
            "The guest's IP addresses, at which it can be asked (\"switch --until answer:PORT\"); separated by commas.",
            discussion: "Each is IP, or IP=MAC[/VLAN] where the guest has addresses in several VLANs.",
            valueName: "ip"))
    var ip: String?
    @Option(
        help: ArgumentHelp(
            "Where this host routes for the guest: the neighbours of its IP addresses follow it on this interface.",
            discussion: """
                The bridge itself, or a VLAN or macvlan interface above it; several are separated by commas. A permanent \
                neighbour is there while the guest is here, and no longer when it has gone.
                """, valueName: "interface"))
    var neighbour: String?
    @Option(
        help: "Where the guest is now: primary, standby (with --port: local) or remote. Default: where its entries are."
    )
    var at: Side?
    @Option(
        help: """
            refuse or allow a standby whose frames the switch behind the primary floods to other ports. Default: \
            FDBSTEER_LEAK, or refuse.
            """)
    var leak: LeakPolicy?
    @Option(
        help: """
            What the guest does with frames that reach both of its NICs: net_failover and bond (active-backup) take one \
            of each, netvsc both. Decides whether a bracket is harmless; default: unknown.
            """)
    var kind: GuestKind?
    @Flag(
        help: """
            Let any port that learns take the guest's addresses by frames. By default frames from them are dropped where \
            they come by neither the guest's ports, the uplink, nor another port to other hosts.
            """)
    var noGuard = false
    @Flag(
        help: """
            Lock the guest's ports while it is on another host: nothing with its MAC leaves there before "switch --to" \
            brings it here, so that no switch of the fabric learns it too early. It fails closed: without a switch, or \
            fdbsteerd that follows QEMU, the guest that has come is not heard.
            """)
    var gate = false
    @OptionGroup var waivers: WaiverOptions
    @OptionGroup var proof: ProofOptions
    @OptionGroup var common: CommonOptions

    func validate() throws {
        if port != nil {
            guard primary == nil, standby == nil, pf == nil, vf == nil else {
                throw ValidationError("a guest with one --port has neither --primary, --standby, --pf nor --vf")
            }
            return
        }
        guard standby != nil else {
            throw ValidationError("name the guest's ports: --primary and --standby, or --port where it has one")
        }
        guard (pf == nil) == (vf == nil), (pf == nil) != (primary == nil) else {
            throw ValidationError("name the VF by --primary, or by --pf and --vf where its NIC is in legacy mode")
        }
    }

    private func neighbours(of request: PreparationRequest) throws(ControllerError) -> [String] {
        let devices = neighbour?.split(separator: ",", omittingEmptySubsequences: false).map(String.init) ?? []
        for (index, device) in devices.enumerated() where device.isEmpty || devices[..<index].contains(device) {
            throw ControllerError(
                .usage, "--neighbour names \(device.isEmpty ? "an empty interface" : "\(device) twice")",
                remedy: "write --neighbour br0, or --neighbour br0.10,br0.20")
        }
        if !devices.isEmpty, request.ips.isEmpty {
            throw ControllerError(
                .usage, "--neighbour needs the guest's IP addresses", remedy: "name them by --ip")
        }
        return devices
    }

    func run() {
        let request = common.call.check { () throws(ControllerError) in
            let parsed = try [Address](listed: addresses)
            var ips: [AnnouncementRequest.Owned] = []
            for text in ip?.split(separator: ",", omittingEmptySubsequences: false) ?? [] {
                ips.append(try AnnouncementRequest.Owned(String(text)))
            }
            let policy = if let leak { leak } else { try LeakPolicy.ofEnvironment() }
            var legacy: LegacyRequest?
            if let pf, let vf { legacy = LegacyRequest(pf: pf, vf: vf, acceptsUnusable: acceptUnusableNic) }
            var request = try PreparationRequest(
                id: GuestID(guest), bridge: bridge, primary: port == nil ? primary ?? uplink ?? pf : nil,
                standby: port ?? standby ?? "",
                uplink: legacy == nil ? uplink : nil, addresses: parsed, side: at, allowsLeak: policy == .allow,
                kind: kind, legacy: legacy, ips: ips)
            request.isGuarded = !noGuard
            request.isGated = gate
            request.neighbours = try neighbours(of: request)
            return request
        }
        common.call.run { host throws(ControllerError) in
            common.call.show(try Prepare(request, options: proof.options(common, waivers)).run(on: &host))
        }
    }
}

/// `fdbsteer switch`.
struct SwitchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "switch", abstract: "Redirect a guest's addresses to a side.")

    @Argument(help: "The guest interface.")
    var guest: String
    @Option(help: "primary, standby or remote; local or remote for a guest with one port.")
    var to: Side
    @Option(
        help: "cut: one move, now. bracket: from now on each frame reaches both ports, until --close or abort.")
    var strategy: Strategy = .cut
    @OptionGroup var until: WaitOptions
    @Flag(help: "Close the open bracket: the guest is on the side that --to names.")
    var close = false
    @OptionGroup var bracket: BracketOptions
    @OptionGroup var waivers: WaiverOptions
    @OptionGroup var proof: ProofOptions
    @OptionGroup var common: CommonOptions

    func run() {
        let id = common.call.check { () throws(ControllerError) in try GuestID(guest) }
        let wait = common.call.check { () throws(ControllerError) in try until.wait() }
        common.call.run { host throws(ControllerError) in
            var options = proof.options(common, waivers)
            options.allowsDuplicates = bracket.allowDuplicates
            options.bracketMaxRate = bracket.bracketMaxRate
            if close { return common.call.show(try CloseBracket(at: to, options: options).run(id, on: &host)) }
            func tell(_ trouble: String) { Output.error("fdbsteer: waiting; \(trouble)") }
            switch (strategy, wait) {
            case (.cut, nil): return common.call.show(try Switch(to: to, options: options).run(id, on: &host))
            case (.bracket, nil): return common.call.show(try OpenBracket(to: to, options: options).run(id, on: &host))
            case (.cut, let wait?):
                return common.call.show(
                    try SwitchAtSignal(to: to, when: wait, options: options).run(id, on: &host, tell: tell))
            case (.bracket, let wait?):
                return common.call.show(
                    try BracketUntilSignal(
                        to: to, until: wait, closesWithoutSignal: until.onTimeout == .abort, options: options
                    ).run(id, on: &host, tell: tell))
            }
        }
    }
}

/// `fdbsteer release`.
struct ReleaseCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "release",
        abstract: "Give a guest's entries back to the bridge, and its ports their settings.")

    @Argument(help: "The guest interface.")
    var guest: String
    @Flag(
        help: "Forget a guest that was prepared in another network namespace, which is gone; nothing else is changed.")
    var forget = false
    @OptionGroup var common: CommonOptions

    func run() {
        let id = common.call.check { () throws(ControllerError) in try GuestID(guest) }
        common.call.run { host throws(ControllerError) in
            common.call.show(
                try Release(options: VerbOptions(dryRun: common.dryRun), forgets: forget).run(id, on: &host))
        }
    }
}

/// `fdbsteer abort`.
struct AbortCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "abort",
        abstract: "End a redirection that did not end, on the side where the guest was.")

    @Argument(help: "The guest interface.")
    var guest: String
    @OptionGroup var common: CommonOptions

    func run() {
        let id = common.call.check { () throws(ControllerError) in try GuestID(guest) }
        common.call.run { host throws(ControllerError) in
            common.call.show(try Abort(options: VerbOptions(dryRun: common.dryRun)).run(id, on: &host))
        }
    }
}

/// `fdbsteer reconcile`.
struct ReconcileCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reconcile",
        abstract: "Bring every guest to the side that the journal says, and clear up after dead processes.",
        discussion: "Exit code 0 when every guest is on its side, 5 when one is not.")

    @OptionGroup var common: CommonOptions

    func run() {
        common.call.run { host throws(ControllerError) in
            let report = try Reconcile(options: VerbOptions(dryRun: common.dryRun)).run(on: &host)
            if common.json {
                Output.json(report)
            } else {
                if report.guests.isEmpty { Output.line("no guest is prepared") }
                for guest in report.probes + report.guests {
                    Output.line("\(guest.guest): \(guest.words)")
                    for problem in guest.problems { Output.line("\(guest.guest): problem: \(problem)") }
                }
                for address in report.sentinelsRemoved { Output.line("sentinel \(address) removed") }
            }
            return report.exitCode
        }
    }
}

extension Call {
    /// Prints a report and returns its exit code.
    func show(_ report: Report) -> Int32 {
        if json {
            Output.json(report)
        } else {
            Output.line(report.headline)
            for message in report.messages ?? [] {
                Output.line("  \(message.netlink)")
                if let command = message.bridgeCommand { Output.line("    as a command: \(command)") }
            }
            if let signal = report.signal { Output.line("  \(signal.words)") }
            for line in report.bracketLines { Output.line("  \(line)") }
            for note in report.notes { Output.line("  note: \(note)") }
            for line in report.findingLines { Output.line("  note: \(line)") }
        }
        if report.exitCode == ControllerError.Code.unproven.rawValue {
            Output.error(
                "fdbsteer: \(report.verb.rawValue) of \(report.guest) is applied, but proof is \(report.proof ?? "missing") "
                    + "(\"fdbsteer verify \(report.guest)\" compares; --require-proof was given)")
        }
        if !report.failures.isEmpty {
            Output.error("fdbsteer: \(report.verb.rawValue) of \(report.guest) \(report.failureWords)")
            for failure in report.failures { Output.error("  \(failure)") }
        }
        return report.exitCode
    }
}

extension Report {
    /// One line for people.
    var headline: String {
        let count = addresses.count == 1 ? "1 address" : "\(addresses.count) addresses"
        let proof = proof.map { proofStatus == .proven ? "; \($0)" : "; proof: \($0)" } ?? ""
        let total = Output.duration(timings.totalNanoseconds)
        if strategy == .bracket, let bracket, outcome == .done || outcome == .already {
            let arrow = "\(from.rawValue) -> \(to.rawValue)"
            if bracket.isOpen {
                return "\(guest): bracket \(arrow) \(outcome == .already ? "already " : "")open: each frame reaches "
                    + "both ports\(proof)"
            }
            return "\(guest): bracket closed, on \(to.rawValue)\(proof)"
        }
        switch (outcome, verb) {
        case (.planned, _):
            return (messages ?? []).isEmpty
                ? "\(guest): nothing would be changed"
                : "\(guest): \(verb.rawValue) would send \(messages?.count ?? 0) netlink messages"
        case (.already, .prepare): return "\(guest): already prepared, on \(to.rawValue)"
        case (.already, .switch): return "\(guest): already on \(to.rawValue)\(proof)"
        case (.already, _): return "\(guest): nothing to do"
        case (.done, .prepare): return "\(guest): \(count) pinned on \(to.rawValue) in \(total)\(proof)"
        case (.done, .switch):
            return "\(guest): \(from.rawValue) -> \(to.rawValue), \(count) moved in "
                + "\(Output.duration(timings.moveNanoseconds)) (\(total) with journal and re-read)\(proof)"
        case (.done, .release): return "\(guest): released on \(to.rawValue), \(givenBack)"
        case (.done, .repair), (.done, .reconcile): return "\(guest): put back on \(to.rawValue)\(proof)"
        case (.done, .abort): return "\(guest): aborted, back on \(to.rawValue)\(proof)"
        case (.incomplete, _):
            let left = addresses.count { $0.error != nil }
            return "\(guest): released on \(to.rawValue), \(givenBack)"
                + (left == 0 ? "" : ", \(left) of \(addresses.count) entries left as they are")
        case (.unrecorded, _):
            return "\(guest): \(verb.rawValue) to \(to.rawValue) is done, \(count) changed, but it is not recorded"
        case (.refused, _): return "\(guest): nothing was changed"
        case (.rolledBack, _): return "\(guest): failed, everything is as it was on \(from.rawValue)"
        case (.notRolledBack, _): return "\(guest): failed, and not everything could be put back"
        }
    }

    /// What a release did with the entries.
    private var givenBack: String {
        func count(_ primitives: [EntryChange.Primitive]) -> Int {
            let words = primitives.map(\.rawValue)
            return addresses.count { $0.error == nil && words.contains($0.primitive) }
        }
        let learned = count([.makeDynamic, .recreateDynamic, .delete])
        let external = count([.recreateExternal, .makeExternal])
        let fixed = count([.replace])
        return "\(learned == 1 ? "1 address" : "\(learned) addresses") given back to learning"
            + (external == 0 ? "" : ", \(external) to a control plane") + (fixed == 0 ? "" : ", \(fixed) kept static")
    }

    /// How the bracket stands, and what closes it.
    var bracketLines: [String] {
        guard let bracket, bracket.isOpen else { return [] }
        return [
            "bracket: \(bracket.words)",
            "closes by: fdbsteer switch \(guest) --to \(bracket.goal.rawValue) --close, once the guest is there; "
                + "fdbsteer abort \(guest) gives it up",
        ]
    }

    /// What the exit code means.
    var failureWords: String {
        switch outcome {
        case .refused: "failed before anything was changed:"
        case .incomplete: "could not give back everything; the guest is forgotten, and this is left:"
        case .unrecorded:
            "moved everything, and it stays so, but the record does not say it; once it can be written, run "
                + "\"fdbsteer reconcile\":"
        case .rolledBack: "failed and was rolled back:"
        default:
            "failed and was not fully rolled back; run \"fdbsteer verify \(guest)\", then \"fdbsteer reconcile\":"
        }
    }
}
