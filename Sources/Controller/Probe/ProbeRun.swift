import FDB
import Glibc
import Netlink
import Policy
import Records
import Switchdev
import System

/// Why a step of a probe failed.
struct ProbeFailure: Error {
    let message: String

    init(_ message: String) { self.message = message }

    /// Runs a request or a change of sysfs.
    static func netlink<T: ~Copyable>(
        _ what: String, _ body: () throws(NetlinkError) -> T
    ) throws(ProbeFailure) -> T {
        do throws(NetlinkError) { return try body() } catch { throw ProbeFailure("\(what): \(error)") }
    }

    static func sysfs(_ body: () throws(SystemError) -> Void) throws(ProbeFailure) {
        do throws(SystemError) { try body() } catch { throw ProbeFailure("\(error)") }
    }
}

/// Executes the steps of a probe: changes the NIC, sends frames, counts them. What to do is ``MACFilterProbe``'s.
struct ProbeRun: ~Copyable {
    let subject: ProbeSubject
    let request: ProbeRequest
    private let signals: SignalSet
    private let run = UInt32.random(in: 1 ... .max)
    private var wire: ProbePort?
    private var pf: ProbePort?
    private var vf: ProbePort?
    private var sibling: ProbePort?
    private var siblingMAC = MACAddress(value: 0)
    private var vfIndex: Int32?
    private var measurement: UInt16 = 0
    private var tallies: [UInt16: Tally] = [:]

    /// Frames that have come, by what tells them from others.
    private struct Tally {
        var pf = Set<ProbeFrame>()
        var vf = Set<ProbeFrame>()
        var wire = Set<ProbeFrame>()
        var all: Set<ProbeFrame> { pf.union(vf).union(wire) }
    }

    /// How long nothing must come before frames count as lost; a frame that comes later is still counted where it belongs.
    private static let patience: Int64 = 80_000_000
    /// How long an interface may take to appear, or its carrier to come.
    ///
    /// A VF whose PF took its reset for a later one may not speak to the PF. igbvf (`igbvf_has_link`) resets it again at
    /// the earliest 10 s after the reset before, and looks every 2 s.
    private static let linkPatience: Int64 = 15_000_000_000

    /// - Parameter signals: end a wait for a link early.
    init(_ subject: ProbeSubject, _ request: ProbeRequest, _ signals: SignalSet) {
        self.subject = subject
        self.request = request
        self.signals = signals
    }

    // MARK: - Changes

    /// Brings the sibling up, makes the VLAN known, opens the ports, and sees that frames come through at all.
    mutating func setUp(using socket: inout CommandSocket) throws(ProbeFailure) {
        // The first states are without driver and without MAC.
        if subject.snapshot.function.driver != nil { try change(.bound(false), using: &socket) }
        if !subject.snapshot.function.mac.isZero { try change(.vfMAC(false), using: &socket) }
        if let function = subject.snapshot.sibling {
            let link = try ProbeRun.bind(function.device, to: subject.driver, using: &socket)
            let up = try bringUp(link, using: &socket)
            try addVLAN(on: up, using: &socket)
            siblingMAC = up.mac ?? siblingMAC
            sibling = try ProbeFailure.netlink("sibling") { () throws(NetlinkError) in try ProbePort(up) }
        }
        try addVLAN(on: subject.pf, using: &socket)
        // The sender is promiscuous: a sibling's frames that leave by the wire are for another MAC.
        let (from, pf) = (subject.from, subject.pf)
        wire = try ProbeFailure.netlink("--from") { () throws(NetlinkError) in try ProbePort(from, promiscuous: true) }
        self.pf = try ProbeFailure.netlink("--pf") { () throws(NetlinkError) in try ProbePort(pf) }
        guard let own = pf.mac else { throw ProbeFailure("\(pf.name) has no MAC") }
        let control = send(to: own, .init(.unbound, .none))
        for counts in control where !counts.reachesPF {
            let kind = counts.tagged ? "tagged frames" : "frames"
            throw ProbeFailure(
                counts.source == .wire
                    ? "\(kind) from \(from.name) to \(pf.name)'s own MAC do not arrive: are both on the same network?"
                    : "\(kind) from VF \(request.sibling ?? 0) to \(pf.name)'s own MAC do not arrive")
        }
    }

    /// Makes one change.
    mutating func change(_ change: MACFilterProbe.Change, using socket: inout CommandSocket) throws(ProbeFailure) {
        let snapshot = subject.snapshot
        switch change {
        case .vfMAC(let isOn):
            let mac = isOn ? request.address.mac : MACAddress(value: 0)
            try ProbeFailure.netlink("cannot set the MAC of VF \(request.vf)") { () throws(NetlinkError) in
                try socket.perform(NICRequest.setMAC(mac, vf: request.vf, of: snapshot.pfIndex))
            }
        case .pfEntry(let isOn):
            try ProbeFailure.netlink("cannot change the unicast list of \(snapshot.pf)") { () throws(NetlinkError) in
                try socket.perform(
                    UnicastListRequest(request.address.mac, link: snapshot.pfIndex, isAddition: isOn))
            }
        case .bound(true):
            vfIndex = try ProbeRun.bind(snapshot.function.device, to: subject.driver, using: &socket).index
        case .bound(false):
            vfIndex = nil
            guard let device = PCIDevice(snapshot.function.device) else { throw ProbeFailure("the VF is gone") }
            try ProbeFailure.sysfs { () throws(SystemError) in try device.unbind() }
        case .up(true):
            let links = try ProbeFailure.netlink("cannot read the VF") { () throws(NetlinkError) in
                try Links.read([vfIndex ?? 0], using: &socket)
            }
            guard let link = links.first ?? nil else { throw ProbeFailure("the VF's interface is gone") }
            let up = try bringUp(link, using: &socket)
            try addVLAN(on: up, using: &socket)
            vf = try ProbeFailure.netlink("the VF's interface") { () throws(NetlinkError) in try ProbePort(up) }
        case .up(false):
            vf = nil
            try ProbeFailure.netlink("cannot take the VF down") { () throws(NetlinkError) in
                try socket.perform(NICRequest.setUp(link: vfIndex ?? 0, false))
            }
        }
    }

    /// Binds a device to a driver, if it is not bound to it already, and waits for its interface.
    static func bind(
        _ address: String, to driver: String, using socket: inout CommandSocket
    ) throws(ProbeFailure) -> Link {
        guard let device = PCIDevice(address) else { throw ProbeFailure("there is no PCI device \(address)") }
        if device.driver != driver {
            try ProbeFailure.sysfs { () throws(SystemError) in
                try device.unbind()
                try device.setDriverOverride(driver)
                try device.bind(to: driver)
            }
        }
        let end = monotonicNanoseconds() + linkPatience
        while true {
            if let name = device.interfaces.first,
                let link = try ProbeFailure.netlink(
                    "cannot read \(name)",
                    { () throws(NetlinkError) in
                        try Links.read(named: [name], using: &socket)
                    }
                ).first ?? nil
            {
                return link
            }
            guard monotonicNanoseconds() < end else { throw ProbeFailure("\(driver) made no interface for \(address)") }
            sleepNanoseconds(5_000_000)
        }
    }

    /// Sets a link up and waits for its carrier.
    private func bringUp(_ link: Link, using socket: inout CommandSocket) throws(ProbeFailure) -> Link {
        try ProbeFailure.netlink("cannot bring \(link.name) up") { () throws(NetlinkError) in
            try socket.perform(NICRequest.setUp(link: link.index, true))
        }
        let end = monotonicNanoseconds() + ProbeRun.linkPatience
        while true {
            if signals.isPending { throw ProbeFailure("interrupted") }
            let links = try ProbeFailure.netlink("cannot read \(link.name)") { () throws(NetlinkError) in
                try Links.read([link.index], using: &socket)
            }
            if let now = links.first ?? nil, now.isUp, now.hasCarrier { return now }
            guard monotonicNanoseconds() < end else {
                throw ProbeFailure("\(link.name) has no carrier after \(ProbeRun.linkPatience / 1_000_000_000) s")
            }
            sleepNanoseconds(5_000_000)
        }
    }

    private func addVLAN(on link: Link, using socket: inout CommandSocket) throws(ProbeFailure) {
        guard let vlan = request.address.vlan else { return }
        do throws(NetlinkError) {
            try socket.perform(
                NICRequest.addVLAN(vlan, on: link.index, named: "\(NICSnapshot.vlanPrefix)\(link.index)"))
        } catch {
            // A VLAN device that is there already makes the VLAN known as well.
            guard error.errno != .exists else { return }
            throw ProbeFailure("cannot make VLAN \(vlan) known to \(link.name): \(error)")
        }
    }

    // MARK: - Frames

    /// Sends frames from every port, with and without a tag, and counts where they arrive.
    mutating func measure(
        _ state: MACFilterProbe.State, using socket: inout CommandSocket
    ) throws(ProbeFailure) -> [MACFilterCounts] {
        var greedy: ProbePort?
        if state.isPromiscuous {
            let pf = subject.pf
            greedy = try ProbeFailure.netlink("promiscuous") { () throws(NetlinkError) in
                try ProbePort(pf, promiscuous: true)
            }
        }
        let interfaces = [subject.snapshot.pfIndex, vf == nil ? 0 : vfIndex ?? 0]
        let before = try? PortCounters.read(interfaces, using: &socket)
        var counts = send(to: request.address.mac, state)
        let after = try? PortCounters.read(interfaces, using: &socket)
        _ = consume greedy
        for index in counts.indices {
            counts[index].pfCounter = ProbeRun.growth(before?[0], after?[0])
            counts[index].vfCounter = vf == nil ? nil : ProbeRun.growth(before?[1], after?[1])
        }
        return counts
    }

    private static func growth(_ before: PortCounters?, _ after: PortCounters?) -> UInt64? {
        guard let before, let after else { return nil }
        return after.rxPackets.growth(since: before.rxPackets)
    }

    private mutating func send(to mac: MACAddress, _ state: MACFilterProbe.State) -> [MACFilterCounts] {
        measurement += 1
        receive()
        tallies[measurement] = Tally()
        var sent: [(MACFilterCounts.Source, Bool, Int)] = []
        let tags = request.address.vlan == nil ? [false] : [false, true]
        for (source, isTagged) in [MACFilterCounts.Source.wire, .sibling].flatMap({ s in tags.map { (s, $0) } }) {
            if source == .sibling, sibling == nil { continue }
            var count = 0
            for number in 0..<request.frames {
                let frame = ProbeFrame(
                    measurement: measurement, source: source == .wire ? 0 : 1, isTagged: isTagged,
                    number: UInt16(number))
                let refusal =
                    source == .wire
                    ? wire?.send(frame, to: mac, from: subject.from.mac ?? mac, run: run, vlan: request.address.vlan)
                    : sibling?.send(frame, to: mac, from: siblingMAC, run: run, vlan: request.address.vlan)
                if refusal == nil { count += 1 }
                if number % 8 == 7 { receive() }
            }
            sent.append((source, isTagged, count))
        }
        wait(for: sent.reduce(0) { $0 + $1.2 })
        return sent.map { counts(state, $0.0, isTagged: $0.1, sent: $0.2) }
    }

    /// Receives until every frame has come, or none came for a while.
    private mutating func wait(for expected: Int) {
        var last = monotonicNanoseconds()
        var seen = 0
        // Copies may follow the first: one more look after the last frame.
        while monotonicNanoseconds() - last < ProbeRun.patience {
            sleepNanoseconds(4_000_000)
            receive()
            let tally = tallies[measurement] ?? Tally()
            let now = tally.pf.count + tally.vf.count + tally.wire.count
            if now != seen { last = monotonicNanoseconds() }
            seen = now
            if tally.all.count >= expected, monotonicNanoseconds() - last > ProbeRun.patience / 4 { return }
        }
    }

    private mutating func receive() {
        var (fromPF, fromVF, fromWire): ([ProbeFrame], [ProbeFrame], [ProbeFrame]) = ([], [], [])
        pf?.receive(run: run) { fromPF.append($0) }
        vf?.receive(run: run) { fromVF.append($0) }
        wire?.receive(run: run) { fromWire.append($0) }
        for frame in fromPF { tallies[frame.measurement]?.pf.insert(frame) }
        for frame in fromVF { tallies[frame.measurement]?.vf.insert(frame) }
        for frame in fromWire { tallies[frame.measurement]?.wire.insert(frame) }
    }

    private func counts(
        _ state: MACFilterProbe.State, _ source: MACFilterCounts.Source, isTagged: Bool, sent: Int
    ) -> MACFilterCounts {
        let tally = tallies[measurement] ?? Tally()
        func mine(_ frames: Set<ProbeFrame>) -> Set<ProbeFrame> {
            frames.filter { $0.isTagged == isTagged && $0.source == (source == .wire ? 0 : 1) }
        }
        let (pf, vf, wire) = (mine(tally.pf), mine(tally.vf), mine(tally.wire))
        return MACFilterCounts(
            state, from: source, tagged: isTagged, sent: sent, pf: pf.count, vf: vf.count, wire: wire.count,
            both: pf.intersection(vf).count, nowhere: max(0, sent - mine(tally.all).count))
    }
}
