public import ArgumentParser
import Controller
import FDB
import Policy
import Records
import Switchdev

extension Side: ExpressibleByArgument {}
extension GuestKind: ExpressibleByArgument {}
extension ReplayMode: ExpressibleByArgument {}
extension Strategy: ExpressibleByArgument {}

/// `fdbsteer prepare`.
struct PrepareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prepare", abstract: "Pin a guest's addresses where the guest is now.")

    @Argument(help: "A name for the guest interface.", completion: Completions.guests)
    var guest: String
    @Option(help: "The bridge.", completion: Completions.bridges)
    var bridge: String
    @Option(
        help:
            "The bridge port of the VF: its representor, the driver's name of it (pf0vf3), or the VF (pci/0000:03:00.5)."
    )
    var primary: String?
    @Option(help: "The bridge port of the paravirtual NIC (tap).", completion: Completions.interfaces)
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
    @Option(
        help: """
            Whether fdbsteerd keeps what the guest misses while it migrates and sends it again (docs/zero.md): off or \
            replay. Default: as its configuration says.
            """)
    var replay: ReplayMode?
    @OptionGroup var waivers: WaiverOptions
    @OptionGroup var proof: ProofOptions
    @OptionGroup var common: CommonOptions

    private var options: PreparationOptions {
        var options = PreparationOptions()
        options.bridge = bridge
        (options.primary, options.standby, options.port, options.uplink) = (primary, standby, port, uplink)
        (options.pf, options.vf, options.acceptsUnusableNIC) = (pf, vf, acceptUnusableNic)
        (options.side, options.kind, options.replay) = (at, kind, replay)
        (options.isGuarded, options.isGated) = (!noGuard, gate)
        options.neighbours = neighbour?.split(separator: ",", omittingEmptySubsequences: false).map(String.init) ?? []
        return options
    }

    func validate() throws {
        if let fault = options.portFault { throw ValidationError(fault) }
    }

    func run() {
        let request = common.call.check { () throws(ControllerError) in
            var options = options
            options.addresses = try [Address](listed: addresses)
            for text in ip?.split(separator: ",", omittingEmptySubsequences: false) ?? [] {
                options.ips.append(try AnnouncementRequest.Owned(String(text)))
            }
            let policy = if let leak { leak } else { try LeakPolicy.ofEnvironment() }
            options.allowsLeak = policy == .allow
            return try options.request(GuestID(guest))
        }
        common.call.run { host throws(ControllerError) in
            common.call.show(try Prepare(request, options: proof.options(common, waivers)).run(on: &host))
        }
    }
}

/// `fdbsteer abort`.
struct AbortCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "abort",
        abstract: "End a redirection that did not end, on the side where the guest was.",
        discussion: "A command that waits for the guest's signal (switch --until) is ended first.")

    @Argument(help: "The guest interface.", completion: Completions.guests)
    var guest: String
    @OptionGroup var common: CommonOptions

    func run() {
        let id = common.call.check { () throws(ControllerError) in try GuestID(guest) }
        common.call.run { host throws(ControllerError) in
            common.call.show(try Abort(options: VerbOptions(dryRun: common.dryRun)).runEndingWait(id, on: &host))
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
                    Output.line("\(guest.guest): \(guest.message)")
                    for problem in guest.problems { Output.line("\(guest.guest): problem: \(problem)") }
                }
                for address in report.sentinelsRemoved { Output.line("sentinel \(address) removed") }
            }
            return report.exitCode
        }
    }
}
