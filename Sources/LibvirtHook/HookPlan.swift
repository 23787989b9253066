package import Policy
import FDB

/// A call of `/etc/libvirt/hooks/qemu` (hooks.html of libvirt).
package struct HookCall: Hashable, Sendable {
    /// The domain's name.
    package let domain: String
    /// `prepare`, `start`, `started`, `stopped`, `release`, `migrate`, `restore`, `reconnect`, `attach`.
    package let operation: String
    /// The reason why a domain was stopped or released (libvirt 10.5 and later), or `-`.
    package let extra: String

    init(domain: String, operation: String, extra: String) {
        (self.domain, self.operation, self.extra) = (domain, operation, extra)
    }

    /// - Parameter arguments: NAME OPERATION SUBOPERATION EXTRA, without the program's name.
    /// - Returns: nil if there are fewer than two.
    package init?(_ arguments: [String]) {
        guard arguments.count >= 2 else { return nil }
        self.init(
            domain: arguments[0], operation: arguments[1], extra: arguments.count > 3 ? arguments[3] : "-")
    }
}

/// What to do about a host's guest interfaces after a call of the hook. It depends on the call and the domain's XML only.
package struct HookPlan: Sendable {
    /// One verb.
    package enum Step: Hashable, Sendable {
        /// Pin the guest.
        case prepare(PreparationRequest)
        /// The guest has gone to another host.
        case leave(GuestID)
        /// Release the guest's entries.
        case release(GuestID)
        /// Restore the state that the journal records.
        case reconcile
        /// The domain's next start is the arrival of a guest from another host.
        case expectArrival
        /// The expected arrival is over or never happened.
        case forgetArrival

        /// A preparation as the command that does the same; nil for the other steps.
        package var words: String? {
            if case .prepare(let request) = self { request.command } else { nil }
        }
    }

    /// The verbs, in order.
    package private(set) var steps: [Step] = []
    /// What is skipped, and why.
    package private(set) var notes: [String] = []
    /// What is not done, and should be.
    package private(set) var errors: [String] = []

    /// The most interfaces of a domain: QEMU's machines have fewer slots for them.
    private static let mostInterfaces = 256

    /// - Parameters:
    ///   - call: the hook's arguments.
    ///   - domain: the domain's XML; nil if it cannot be read.
    ///   - known: the guests of the journal. Clean-up goes by them: what the XML describes may have changed since they were prepared.
    ///   - isArriving: the domain that starts waits for its guest from another host.
    package init(
        _ call: HookCall, domain: DomainXML?, known: [GuestID], configuration: HookConfiguration, isArriving: Bool
    ) {
        if configuration.ignored.contains(call.domain) { return }
        switch call.operation {
        case "reconnect":
            steps = [.reconcile]
        case "migrate":
            // On the target, before QEMU is started.
            steps = [.expectArrival]
        case "restore":
            steps = [.forgetArrival]
        case "started":
            let interfaces = interfaces(of: domain, call, takesSingles: configuration.takesSingles == true)
            for id in HookPlan.guests(of: call, domain, known) where !interfaces.contains(where: { $0.id == id }) {
                notes.append("\(id) was left by an earlier run")
                steps.append(.release(id))
            }
            if domain == nil { errors.append("nothing is prepared: the domain's XML cannot be read") }
            // Firmware and the first part of the boot only use the standby.
            if configuration.complaints.isEmpty {
                for interface in interfaces { prepare(interface, configuration, isArriving: isArriving) }
            } else if !interfaces.isEmpty {
                errors.append("nothing is prepared: the hook's configuration is not understood")
            }
            steps.append(.forgetArrival)
        case "release":
            for id in HookPlan.guests(of: call, domain, known) {
                if call.extra == "migrated" { steps.append(.leave(id)) }
                steps.append(.release(id))
            }
            steps.append(.forgetArrival)
        default: break
        }
    }

    /// What is done when a domain starts here by itself.
    package init(starting domain: DomainXML, _ configuration: HookConfiguration) {
        let call = HookCall(domain: domain.name, operation: "started", extra: "-")
        self.init(call, domain: domain, known: [], configuration: configuration, isArriving: false)
    }

    /// The standby is the one port where there is no primary.
    private typealias Interface = (id: GuestID, standby: DomainXML.Device, primary: DomainXML.Device?)

    /// The journal's guests of a domain: their names are the domain's, or its UUID, and an alias, which has no `:`.
    private static func guests(of call: HookCall, _ domain: DomainXML?, _ known: [GuestID]) -> [GuestID] {
        known.filter { id in
            guard let colon = id.text.utf8.lastIndex(of: UInt8(ascii: ":")) else { return false }
            let owner = id.text[..<colon]
            return owner == call.domain || domain.map { !$0.uuid.isEmpty && owner == $0.uuid } == true
        }
    }

    private mutating func interfaces(of domain: DomainXML?, _ call: HookCall, takesSingles: Bool) -> [Interface] {
        typealias Found = (standby: DomainXML.Device, primary: DomainXML.Device?)
        var found: [Found] = (domain?.pairs ?? []).map { ($0.standby, $0.primary) }
        if takesSingles { found += (domain?.singles ?? []).map { ($0, nil) } }
        if found.count > HookPlan.mostInterfaces {
            errors.append(
                "\(found.count) interfaces are too many: those after the first \(HookPlan.mostInterfaces) are left out")
        }
        return found.prefix(HookPlan.mostInterfaces).compactMap { standby, primary in
            let alias = standby.alias ?? ""
            // A domain's name may have characters that the name of a guest interface must not have.
            let id = (try? GuestID("\(call.domain):\(alias)")) ?? (try? GuestID("\(domain?.uuid ?? ""):\(alias)"))
            guard let id else {
                errors.append("the interface \(alias) is left out: its name is too long")
                return nil
            }
            return (id, standby, primary)
        }
    }

    private mutating func prepare(_ interface: Interface, _ configuration: HookConfiguration, isArriving: Bool) {
        let (id, standby, primary) = interface
        let role = primary == nil ? "interface" : "standby"
        func without(_ what: String) { errors.append("\(id) is left out: \(what)") }
        guard let bridge = standby.bridge else {
            return without("its \(role) is no port of a bridge (interface type '\(standby.type)')")
        }
        guard let tap = standby.tap else { return without("its \(role) has no tap yet") }
        if let primary, primary.pci == nil { return without("the XML does not say which VF its primary is") }
        guard let mac = standby.mac ?? primary?.mac else { return without("it has no MAC") }
        if isArriving, configuration.uplinks[bridge] == nil {
            return without(
                "it comes from another host, and the hook's configuration has no line \"uplink \(bridge) PORT\"")
        }
        let tags = standby.vlans.isEmpty ? primary?.vlans ?? [] : standby.vlans
        let side: Side = isArriving ? .remote : primary == nil ? .local : .standby
        do {
            let addresses = try tags.isEmpty ? [Address(mac)] : tags.map { try Address("\(mac)/\($0)") }
            var request = try PreparationRequest(
                id: id, bridge: bridge, primary: primary?.pci.map { configuration.ports[$0] ?? "pci/\($0)" },
                standby: tap, uplink: configuration.uplinks[bridge], addresses: addresses, side: side,
                ips: configuration.ips(of: mac))
            // Without an IP address there is no neighbour.
            if !request.ips.isEmpty {
                request.neighbours = configuration.neighbours[bridge]?.split(separator: ",").map(String.init) ?? []
            }
            request.isGated = configuration.hasGates == true && configuration.uplinks[bridge] != nil
            steps.append(.prepare(request))
        } catch {
            without("\(error)")
        }
    }
}
