import ArgumentParser
import Controller
import FDB
import Policy
import Switchdev
import System

/// `fdbsteer prepare`.
struct PrepareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prepare", abstract: "Pin a guest's addresses where the guest is now.",
        discussion: """
            With --domain NAME the guests of a libvirt domain, called NAME:ALIAS, with what its XML tells: bridge, ports and addresses, \
            as the libvirt hook finds them.
            """)

    @Argument(help: "A name for the guest interface.", completion: Completions.guests)
    var guest: String?
    @Option(help: "In the place of guest, bridge, ports and addresses: a libvirt domain.")
    var domain: String?
    @Option(help: "The bridge.", completion: Completions.bridges)
    var bridge: String?
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
    var addresses: [String] = []
    @Option(
        help: "Instead of --address: all that lives behind this port of the guest's own is the guest's.",
        completion: Completions.interfaces)
    var exclusive: String?
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
        options.bridge = bridge ?? ""
        (options.primary, options.standby, options.port, options.uplink) = (primary, standby, port, uplink)
        (options.pf, options.vf, options.acceptsUnusableNIC) = (pf, vf, acceptUnusableNic)
        (options.side, options.kind, options.replay) = (at, kind, replay)
        (options.isGuarded, options.isGated) = (!noGuard, gate)
        options.neighbours = neighbour?.split(separator: ",", omittingEmptySubsequences: false).map(String.init) ?? []
        return options
    }

    /// What is missing beside ports.
    private var missing: [String] {
        var missing: [String] = []
        if guest == nil { missing.append("<guest>") }
        if bridge == nil { missing.append("--bridge <bridge>") }
        if addresses.isEmpty, exclusive == nil { missing.append("--address <address>") }
        return missing
    }

    func validate() throws {
        guard domain != nil else {
            if addresses.isEmpty || exclusive == nil { return }
            throw ValidationError("--exclusive finds the addresses: leave --address out")
        }
        let named: [(String, Bool)] = [
            (guest ?? "", guest != nil), ("--bridge", bridge != nil), ("--primary", primary != nil),
            ("--standby", standby != nil), ("--port", port != nil), ("--uplink", uplink != nil), ("--pf", pf != nil),
            ("--vf", vf != nil), ("--address", !addresses.isEmpty), ("--exclusive", exclusive != nil),
            ("--ip", ip != nil), ("--neighbour", neighbour != nil), ("--leak", leak != nil),
            ("--accept-unusable-nic", acceptUnusableNic),
        ]
        let superfluous = named.filter(\.1).map(\.0)
        if superfluous.isEmpty { return }
        throw ValidationError(
            "--domain finds the guests' names, bridge, ports and addresses: leave \(superfluous.joined(separator: ", ")) out"
        )
    }

    /// What the options amount to.
    ///
    /// - Parameter found: the addresses, where the options do not name them.
    func request(found: [Address] = []) throws(ControllerError) -> PreparationRequest {
        var options = options
        options.addresses = exclusive == nil ? try [Address](listed: addresses) : found
        for text in ip?.split(separator: ",", omittingEmptySubsequences: false) ?? [] {
            options.ips.append(try AnnouncementRequest.Owned(String(text)))
        }
        options.allowsLeak = try allowsLeak()
        return try options.request(GuestID(guest ?? ""))
    }

    private func allowsLeak() throws(ControllerError) -> Bool {
        let policy = if let leak { leak } else { try LeakPolicy.ofEnvironment() }
        return policy == .allow
    }

    func run() {
        let call = common.call
        if let domain { prepare(domain: domain) }
        let faults = missing + [options.portFault].compactMap { $0 }
        if !faults.isEmpty {
            call.fail(
                ControllerError(
                    .usage, (missing.isEmpty ? "" : "missing: ") + faults.joined(separator: "; "),
                    remedy: "\"fdbsteer help prepare\" shows what each is"))
        }
        let known = exclusive == nil ? call.check { () throws(ControllerError) in try request() } : nil
        call.run { host throws(ControllerError) in
            let request: PreparationRequest
            if let known {
                request = known
            } else {
                let id = try GuestID(guest ?? "")
                request = try self.request(
                    found: Prepare.addresses(behind: exclusive ?? "", of: id, options, on: &host))
            }
            return call.show(try Prepare(request, options: proof.options(common, waivers)).run(on: &host))
        }
    }

    /// Prepares all guests of a libvirt domain.
    private func prepare(domain: String) -> Never {
        let call = common.call
        call.run { host throws(ControllerError) in
            let found = try PrepareDomain.requests(of: domain, at: at, allowsLeak: allowsLeak())
            return try call.ask(
                found.map(\.id), isList: true, on: &host, exitCode: { (report: Report) in call.complain(report) },
                print: { call.printText($0) },
                { id, host throws(ControllerError) in
                    guard var request = found.first(where: { $0.id == id }) else {
                        throw .unknownDomain(domain)
                    }
                    if let kind { request = try request.replacing(kind: kind) }
                    if gate { request.isGated = true }
                    if let replay { request.replay = replay }
                    if noGuard { request.isGuarded = false }
                    return try Prepare(request, options: proof.options(common, waivers)).run(on: &host)
                })
        }
    }
}

extension ControllerError {
    fileprivate static func unknownDomain(_ name: String) -> ControllerError {
        ControllerError(.precondition, "domain \(name) has no such guest")
    }
}
