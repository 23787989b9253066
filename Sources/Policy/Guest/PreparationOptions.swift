package import FDB

/// What `prepare` is told: by options of the command line, or by keys of the same names in the daemon's configuration.
package struct PreparationOptions: Hashable, Sendable {
    /// The bridge.
    package var bridge = ""
    /// The bridge port of the VF.
    package var primary: String?
    /// The bridge port of the paravirtual NIC.
    package var standby: String?
    /// In the place of both, the port of a guest that has one.
    package var port: String?
    /// The port behind which the guest is reached while it is on another host.
    package var uplink: String?
    /// In the place of the primary, the physical function of a NIC in legacy mode.
    package var pf: String?
    /// The number of the guest's VF, with ``pf``.
    package var vf: UInt32?
    /// A NIC that was found not usable for failover is accepted.
    package var acceptsUnusableNIC = false
    /// The guest's addresses.
    package var addresses: [Address] = []
    /// Its IP addresses.
    package var ips: [AnnouncementRequest.Owned] = []
    /// Interfaces on which neighbours of its IP addresses follow it.
    package var neighbours: [String] = []
    /// The side that it is on.
    package var side: Side?
    /// What it does with a frame that reaches both of its NICs.
    package var kind: GuestKind?
    /// A standby is accepted whose frames the switch floods to other ports.
    package var allowsLeak = false
    /// Other ports are kept from taking its addresses by frames.
    package var isGuarded = true
    /// Its ports are shut while it is on another host.
    package var isGated = false
    /// Whether what it misses while it migrates is kept and sent again; nil: as the daemon's configuration says.
    package var replay: ReplayMode?

    /// Makes options that name nothing.
    package init() {}

    /// What is wrong with the choice of ports, in words; nil for none of it.
    package var portFault: String? {
        if port != nil {
            return primary == nil && standby == nil && pf == nil && vf == nil
                ? nil : "a guest with one --port has neither --primary, --standby, --pf nor --vf"
        }
        if standby == nil { return "name the guest's ports: --primary and --standby, or --port where it has one" }
        return (pf == nil) == (vf == nil) && (pf == nil) != (primary == nil)
            ? nil : "name the VF by --primary, or by --pf and --vf where its NIC is in legacy mode"
    }

    /// The request that they amount to.
    ///
    /// - Throws: ``ControllerError`` of code `usage` for options that contradict each other.
    package func request(_ id: GuestID) throws(ControllerError) -> PreparationRequest {
        if let portFault {
            throw ControllerError(.usage, portFault, remedy: "\"fdbsteer help prepare\" shows what each is")
        }
        var devices: Set<String> = []
        for device in neighbours where device.isEmpty || !devices.insert(device).inserted {
            throw ControllerError(
                .usage, "--neighbour names \(device.isEmpty ? "an empty interface" : "\(device) twice")",
                remedy: "name each interface once, such as br0.10 and br0.20")
        }
        if let device = neighbours.first(where: [primary, standby, port, uplink].contains) {
            throw ControllerError(
                .usage, "--neighbour \(device) is a port of the bridge, which has no neighbours",
                remedy: "name the bridge, or a VLAN or macvlan interface above it")
        }
        if !neighbours.isEmpty, ips.isEmpty {
            throw ControllerError(
                .usage, "--neighbour needs the guest's IP addresses", remedy: "name them by --ip")
        }
        var legacy: LegacyRequest?
        if let pf, let vf { legacy = LegacyRequest(pf: pf, vf: vf, acceptsUnusable: acceptsUnusableNIC) }
        var request = try PreparationRequest(
            id: id, bridge: bridge, primary: port == nil ? primary ?? uplink ?? pf : nil,
            standby: port ?? standby ?? "", uplink: legacy == nil ? uplink : nil, addresses: addresses, side: side,
            allowsLeak: allowsLeak, kind: kind, legacy: legacy, ips: ips)
        request.isGuarded = isGuarded
        request.isGated = isGated
        request.replay = replay
        request.neighbours = neighbours
        return request
    }
}

extension PreparationRequest {
    /// The command that asks for the same.
    package var command: String {
        var words = ["fdbsteer prepare \(id) --bridge \(bridge)"]
        if let legacy {
            words.append("--pf \(legacy.pf) --vf \(legacy.vf) --standby \(standby)")
            if let primary, primary != legacy.pf { words.append("--uplink \(primary)") }
        } else {
            words.append(primary.map { "--primary \($0) --standby \(standby)" } ?? "--port \(standby)")
        }
        if let uplink { words.append("--uplink \(uplink)") }
        words += addresses.map { "--address \($0)" }
        if !ips.isEmpty { words.append("--ip \(ips.map(\.description).joined(separator: ","))") }
        if !neighbours.isEmpty { words.append("--neighbour \(neighbours.joined(separator: ","))") }
        if let side { words.append("--at \(side.rawValue)") }
        if let kind { words.append("--kind \(kind.rawValue)") }
        if allowsLeak { words.append("--leak allow") }
        if !isGuarded { words.append("--no-guard") }
        if isGated { words.append("--gate") }
        if let replay { words.append("--replay \(replay.rawValue)") }
        return words.joined(separator: " ")
    }
}

extension GuestInterface {
    /// The command that prepares it anew, on the same side, when its bridge and its ports are there again under their names.
    package var preparation: String {
        let request = try? PreparationRequest(
            id: id, bridge: bridge.name, primary: primary?.name, standby: standby.name, uplink: uplink?.name,
            addresses: declared.map { fromPVID.contains($0) ? (try? Address(mac: $0.mac)) ?? $0 : $0 }, side: nil,
            legacy: nic.map { LegacyRequest(pf: $0.pf.name, vf: $0.vf) })
        // A log has no room for more.
        guard var request, declared.count <= 4 else { return "fdbsteer prepare \(id) as before" }
        // A port that serves others too has sticky entries in the place of a guard, which nobody asked for.
        (request.isGuarded, request.isGated) = (isGuarded || isSticky, isGated)
        return request.command
    }
}
