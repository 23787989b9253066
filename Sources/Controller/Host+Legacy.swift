import FDB
import Netlink
import Switchdev

/// What `prepare` knows of a NIC in legacy mode.
struct LegacyPreparation {
    let nic: LegacyNIC
    let filters: NICFilters
    /// Where the guest is by the filters; nil when they do not say.
    let side: Side?
    let notes: [String]
}

/// Says why a guest must not be prepared on a NIC in legacy mode; no I/O but sysfs.
struct LegacyCheck {
    let request: PreparationRequest
    let legacy: LegacyRequest
    let links: Links
    let devlink: Devlink
    let filters: NICFilters
    let verdict: StoredVerdict?
    let records: [Journal.Record]

    /// - Throws: ``ControllerError`` of code `precondition` that names what would block.
    func preparation() throws(ControllerError) -> LegacyPreparation {
        let (pf, device) = try NICLookup.physicalFunction(legacy.pf, links: links)
        _ = try NICLookup.function(legacy.vf, of: pf, device, role: "--vf")
        if devlink.modes[DevlinkHandle(bus: "pci", device: device.address)] == .switchdev {
            throw ControllerError(
                .precondition, "the eswitch of \(pf.name) is in mode switchdev: its filters steer nothing",
                remedy: "name the VF's representor by --primary instead of --pf and --vf")
        }
        if let other = records.first(where: { $0.guest.nic?.pf.index == pf.index && $0.guest.nic?.vf == legacy.vf }) {
            throw ControllerError(
                .precondition, "VF \(legacy.vf) of \(pf.name) belongs to guest \(other.guest.id)",
                remedy: "release \(other.guest.id) first, or name another VF")
        }
        guard let function = filters.function, let address = request.addresses.first else {
            throw ControllerError(.precondition, "\(pf.name) does not list VF \(legacy.vf)")
        }
        try check(function, address, pf)
        try checkUplink(pf, device)
        var notes = try judge(pf)
        if request.primary != pf.name {
            notes.append(
                "\(request.primary) is a VF: some PF drivers keep a MAC that a VF has taken off its list (igb does), which "
                    + "nothing shows but the frames; \(pf.name) itself is the safer port")
        }
        let isOnVF = function.mac == address.mac
        return LegacyPreparation(
            nic: LegacyNIC(
                pf: PortIdentity(pf), vf: legacy.vf, hadEntry: filters.hasEntry, hadMAC: function.mac,
                order: verdict?.verdict.order ?? .makeBeforeBreak), filters: filters,
            side: isOnVF == filters.hasEntry ? nil : isOnVF ? .primary : .standby, notes: notes)
    }

    /// What of the VF's own settings would block.
    private func check(_ function: VirtualFunction, _ address: Address, _ pf: Link) throws(ControllerError) {
        let vf = "VF \(function.index) of \(pf.name)"
        if function.vlan != 0, function.vlan != address.vlan?.rawValue {
            throw ControllerError(
                .precondition,
                "\(vf) has VLAN \(function.vlan), and the address is \(address): its frames would be on another VLAN than "
                    + "the standby's",
                remedy: "name the address with /\(function.vlan), or: ip link set \(pf.name) vf "
                    + "\(function.index) vlan 0")
        }
        if function.linkState == .disable {
            throw ControllerError(
                .precondition, "\(vf) has link state disable: the guest's driver sees no carrier",
                remedy: "ip link set \(pf.name) vf \(function.index) state auto")
        }
        for link in links.all {
            for other in link.virtualFunctions where other.mac == address.mac {
                if link.index == pf.index, other.index == function.index { continue }
                throw ControllerError(
                    .precondition, "the MAC \(address.mac) is set for VF \(other.index) of \(link.name) too",
                    remedy: "clear it there: ip link set \(link.name) vf \(other.index) mac 00:00:00:00:00:00")
            }
        }
    }

    /// The port to the NIC is the PF's netdev or that of another VF, and that VF may do what a bridge's port does.
    private func checkUplink(_ pf: Link, _ device: PCIDevice) throws(ControllerError) {
        guard let uplink = links[request.primary], uplink.index != pf.index else { return }
        guard let parent = uplink.parentDevice, let (physical, number) = PCIFunctions().virtualFunction(parent),
            physical == device.address
        else {
            throw ControllerError(
                .precondition, "--uplink: \(uplink.name) is neither \(pf.name) nor one of its VFs",
                remedy: "name the port of the bridge that goes to this NIC")
        }
        guard number != legacy.vf else {
            throw ControllerError(
                .precondition, "--uplink: \(uplink.name) is VF \(number) itself",
                remedy: "name another VF, or \(pf.name)")
        }
        guard let function = pf.virtualFunctions.first(where: { $0.index == number }) else { return }
        if function.checksSource == true {
            throw ControllerError(
                .precondition,
                "VF \(number) (\(uplink.name)) has spoof checking on: the NIC drops what the guest sends by its standby",
                remedy: "ip link set \(pf.name) vf \(number) spoofchk off")
        }
        if function.isTrusted == false {
            throw ControllerError(
                .precondition,
                "VF \(number) (\(uplink.name)) is not trusted: the NIC may refuse further MACs for it, and promiscuity",
                remedy: "ip link set \(pf.name) vf \(number) trust on")
        }
    }

    /// What the verdict about such NICs says.
    private func judge(_ pf: Link) throws(ControllerError) -> [String] {
        guard let verdict = verdict?.verdict else {
            return [
                "no NIC like \(pf.name) was probed: whether its VFs take frames early is not known (\"fdbsteer probe "
                    + "mac-filter\" finds out); filters are made before they are broken elsewhere"
            ]
        }
        guard verdict.usableForFailover == .no, !legacy.acceptsUnusable else { return verdict.words.suffix(1) }
        throw ControllerError(
            .precondition, "\(pf.name) was found not usable for failover: \(verdict.words.joined(separator: "; "))",
            remedy: "use another NIC, or accept it: --accept-unusable-nic")
    }
}

extension Host {
    /// Reads what `prepare` needs of a NIC in legacy mode; nil for a guest without one.
    mutating func legacy(
        _ request: PreparationRequest, ports: [Side: Link], links: Links, records: [Journal.Record]
    ) throws(ControllerError) -> LegacyPreparation? {
        guard let legacy = request.legacy, let address = request.addresses.first else { return nil }
        let (pf, device) = try NICLookup.physicalFunction(legacy.pf, links: links)
        let devlink = try ControllerError.reading("devlink") { () throws(NetlinkError) in try Devlink.snapshot() }
        let filters = try ControllerError.reading("the filters of \(pf.name)") { () throws(NetlinkError) in
            try NICFilters.read(
                address.mac, vf: legacy.vf, of: pf.index, uplink: ports[.primary]?.index ?? pf.index, using: &socket)
        }
        let nic = NICIdentity(interface: pf.name, device: device, devlink: devlink)
        return try LegacyCheck(
            request: request, legacy: legacy, links: links, devlink: devlink, filters: filters,
            verdict: verdict(of: nic), records: records
        ).preparation()
    }

    /// Changes a filter; what is so already is as good.
    mutating func apply(_ change: FilterChange) -> Redirection.Event {
        do throws(NetlinkError) {
            // Frames that the port has taken already are on their way through the bridge.
            defer { if case .entry(_, _, false) = change { sleepNanoseconds(Host.drainPause) } }
            switch change {
            case .functionMAC(let mac, let vf, let pf):
                try socket.perform(NICRequest.setMAC(mac, vf: vf, of: pf.index))
            case .entry(let mac, let port, let isOn):
                do throws(NetlinkError) {
                    try socket.perform(UnicastListRequest(mac, link: port.index, isAddition: isOn))
                } catch {
                    guard error.errno == (isOn ? .exists : .noEntry) else { throw error }
                }
            }
            return .done
        } catch {
            return .failed(Redirection.Failure("the NIC refused \"\(change.words.bridgeCommand ?? "")\"", cause: error))
        }
    }

    /// Reads the filters back, and watches the counters of where the frames should arrive.
    ///
    /// - Parameter timeout: nanoseconds; without traffic nothing can be seen, so that it is cut to a fifth of a second.
    mutating func proveFilters(_ plan: Plan, timeout: Int64) -> OffloadProof {
        guard let nic = plan.guest.nic, let mac = plan.guest.addresses.first?.mac else { return .nothingToProve }
        let guest = plan.guest
        do throws(NetlinkError) {
            let filters = try NICFilters.read(
                mac, vf: nic.vf, of: nic.pf.index, uplink: guest.primary.index, using: &socket)
            if let problem = FilterPlan.problems(guest, filters).first { return .missing(reason: problem) }
            let first = try FilterCounters.read(guest, nic, using: &socket)
            let end = Stopwatch()
            repeat {
                sleepNanoseconds(Host.counterPause)
                let now = try FilterCounters.read(guest, nic, using: &socket)
                if let words = now.evidence(since: first, guest, nic) {
                    return .proven(evidence: "the NIC's filters are as set, and \(words)")
                }
            } while end.elapsed < min(timeout, Host.counterPatience)
            return .missing(
                reason:
                    "the NIC's filters are as set, but its counters did not move: nobody sends to the guest, or the "
                    + "driver counts no frames of VFs")
        } catch {
            return .missing(reason: "the NIC's filters cannot be read back: \(error)")
        }
    }

    /// Longer than a frame takes from a NIC's queue through the bridge.
    private static let drainPause: Int64 = 10_000_000
    /// Between two looks at the counters.
    private static let counterPause: Int64 = 5_000_000
    /// How long to look.
    private static let counterPatience: Int64 = 200_000_000
}

/// The counters that tell where a guest's frames arrive.
private struct FilterCounters {
    /// Received by the port to the NIC.
    let uplink: UInt64
    /// Sent to the standby.
    let standby: UInt64
    /// Received by the VF, where its driver or the PF's counts.
    let function: UInt64

    static func read(
        _ guest: GuestInterface, _ nic: LegacyNIC, using socket: inout CommandSocket
    ) throws(NetlinkError) -> FilterCounters {
        let ports = try PortCounters.read([guest.primary.index, guest.standby.index], using: &socket)
        let function = try VirtualFunction.receivedPackets(nic.vf, of: nic.pf.index, using: &socket)
        return FilterCounters(
            uplink: ports[0]?.rxPackets ?? 0, standby: ports[1]?.txPackets ?? 0, function: function ?? 0)
    }

    /// What moved where it should; nil when nothing did. Counters that began again count as nothing.
    func evidence(since first: FilterCounters, _ guest: GuestInterface, _ nic: LegacyNIC) -> String? {
        switch guest.side {
        case .standby where uplink > first.uplink && standby > first.standby:
            return
                "\(uplink - first.uplink) frames came in by \(guest.primary.name), \(standby - first.standby) left by "
                + guest.standby.name
        case .primary where function > first.function:
            return "VF \(nic.vf) received \(function - first.function) frames"
        default:
            return nil
        }
    }
}

extension Observation {
    /// Reads the filters of a guest's NIC, when it is in legacy mode.
    mutating func readFilters(
        of guest: GuestInterface, using socket: inout CommandSocket
    ) throws(ControllerError) {
        guard let nic = guest.nic, let mac = guest.addresses.first?.mac else { return }
        filters = try ControllerError.reading("the filters of \(nic.pf.name)") { () throws(NetlinkError) in
            try NICFilters.read(mac, vf: nic.vf, of: nic.pf.index, uplink: guest.primary.index, using: &socket)
        }
    }
}

extension Journal {
    private static let legacyTable = """
        CREATE TABLE IF NOT EXISTS legacy(
            guest INTEGER PRIMARY KEY REFERENCES guest(id) ON DELETE CASCADE, pf TEXT NOT NULL, ifindex INTEGER NOT NULL,
            vf INTEGER NOT NULL, had_entry INTEGER NOT NULL,
            had_mac INTEGER NOT NULL, filter_order TEXT NOT NULL)
        """

    func insert(_ nic: LegacyNIC, row: Int64) throws(DatabaseError) {
        try database.execute(Journal.legacyTable)
        try database.run(
            "INSERT INTO legacy VALUES(?,?,?,?,?,?,?)", .integer(row), .text(nic.pf.name),
            .integer(Int64(nic.pf.index)),
            .integer(Int64(nic.vf)), .integer(nic.hadEntry ? 1 : 0),
            .integer(Int64(nic.hadMAC.value)), .text(nic.order.rawValue))
    }

    func loadNIC(row: Int64) throws(DatabaseError) -> LegacyNIC? {
        guard try database.hasTable("legacy") else { return nil }
        guard
            let columns = try database.run(
                "SELECT pf, ifindex, vf, had_entry, had_mac, filter_order FROM legacy WHERE guest = ?", .integer(row)
            ).first, let name = columns.text(0), let index = columns.integer(1), let vf = columns.integer(2)
        else { return nil }
        return LegacyNIC(
            pf: PortIdentity(name: name, index: Int32(truncatingIfNeeded: index), isEswitchPort: false),
            vf: UInt32(truncatingIfNeeded: vf), hadEntry: columns.integer(3) == 1,
            hadMAC: MACAddress(value: UInt64(bitPattern: columns.integer(4) ?? 0)),
            order: columns.text(5).flatMap(MACFilterVerdict.Order.init) ?? .makeBeforeBreak)
    }
}
