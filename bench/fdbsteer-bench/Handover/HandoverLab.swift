import Controller
import FDB
import Glibc
import Lab
import Netlink
import Policy
import Records
import System

/// Two hosts with a controller each, and the guest that moves from one to the other; used on one thread.
final class HandoverLab {
    /// The times of the steps, in nanoseconds of CLOCK_REALTIME.
    struct Times {
        /// From before the source's switch to its standby until after it. The guest counts as listening on both ports: how
        /// well the switch coincides with the guest's own change is another question (docs/handover.md).
        var unplug: ClosedRange<Int64> = 0...0
        /// The guest runs on the target instead of the source.
        var runs: Int64 = 0
        /// The time when each step was done; for a switch, the time of its last write to the kernel.
        var done: [HandoverMethod.Step: Int64] = [:]
        /// Like `unplug`, for the target's switch to its primary.
        var plug: ClosedRange<Int64> = 0...0
    }

    let lab: FabricLab
    private var socket: CommandSocket
    private var sourceHost: Controller.Host
    private var targetHost: Controller.Host
    private let guest: GuestID
    private let address: Address
    /// Sockets behind each port of the guest. They stay open for the whole run, because closing a packet socket takes
    /// milliseconds.
    private let sourcePrimary: Transmitter
    private let sourceStandby: Transmitter
    private let targetStandby: Transmitter
    private let targetPrimary: Transmitter

    /// - Parameters:
    ///   - source: the folder for the source's journal.
    ///   - target: the folder for the target's journal.
    init(source: String, target: String) throws {
        lab = try FabricLab()
        socket = try CommandSocket()
        sourceHost = try Controller.Host(folder: StateFolder(source))
        targetHost = try Controller.Host(folder: StateFolder(target))
        guest = try GuestID("guest")
        address = try Address(lab.guestMAC)
        sourcePrimary = try Transmitter(FabricLab.far(lab.source.primary))
        sourceStandby = try Transmitter(FabricLab.far(lab.source.standby))
        targetStandby = try Transmitter(FabricLab.far(lab.target.standby))
        targetPrimary = try Transmitter(FabricLab.far(lab.target.primary))
    }

    /// The interfaces at which the guest's frames arrive.
    var paths: [String] {
        [lab.source.primary, lab.source.standby, lab.target.standby, lab.target.primary].map(FabricLab.far)
    }

    /// The time during which the guest listens on each of ``paths``.
    func listening(_ times: Times) -> [Range<Int64>] {
        [
            .min..<times.unplug.upperBound, times.unplug.lowerBound..<times.runs,
            times.runs..<times.plug.upperBound, times.plug.lowerBound..<(.max),
        ]
    }

    // MARK: - One hand-over

    /// Brings both hosts to the state before the migration: the guest is on the source's primary, and all bridges know it.
    func begin(_ method: HandoverMethod) throws {
        try sourcePrimary.send(FabricLab.announcement(of: lab.guestMAC))
        usleep(5000)
        switch method.kind {
        case .steered, .learned, .pinned:
            try check(Prepare(request(lab.source, at: .primary)).run(on: &sourceHost))
            let side: Side = method.kind == .pinned ? .standby : .remote
            try check(Prepare(request(lab.target, at: side)).run(on: &targetHost))
            if case .learned = method.kind { try setLearning(true) }
        case .sticky:
            try stick(lab.source.primary)
            try stick(lab.target.standby)
        case .learning: break
        }
    }

    /// The guest gives up its VF and uses the standby, on the source.
    func unplug(_ method: HandoverMethod, into times: inout Times) throws {
        let begin = Stopwatch.realTime
        switch method.kind {
        case .steered, .learned, .pinned: try check(Switch(to: .standby).run(guest, on: &sourceHost))
        case .sticky: try stick(lab.source.standby)
        case .learning: break
        }
        // Every guest soon sends something on its new port: learning depends on that.
        try sourceStandby.send(FabricLab.announcement(of: lab.guestMAC))
        times.unplug = begin...Stopwatch.realTime
    }

    /// The guest starts to run on the target.
    func migrate(_ method: HandoverMethod, into times: inout Times) throws {
        times.runs = Stopwatch.realTime
        let order: [HandoverMethod.Step]
        switch method.kind {
        case .steered(let steps), .learned(let steps): order = steps
        case .pinned, .sticky, .learning: order = [.announce]
        }
        for step in order {
            var written: Int64?
            switch step {
            case .target: written = try check(Switch(to: .standby).run(guest, on: &targetHost))
            case .announce: try targetStandby.send(FabricLab.announcement(of: lab.guestMAC))
            case .source: written = try check(Switch(to: .remote).run(guest, on: &sourceHost))
            }
            times.done[step] = written ?? Stopwatch.realTime
        }
        if case .learned = method.kind { try setLearning(false) }
    }

    /// QEMU repeats its announcement.
    func announceAgain() throws { try targetStandby.send(FabricLab.announcement(of: lab.guestMAC)) }

    /// The guest gets a VF on the target, and stops using its standby.
    func plug(_ method: HandoverMethod, into times: inout Times) throws {
        let begin = Stopwatch.realTime
        switch method.kind {
        case .steered, .learned, .pinned: try check(Switch(to: .primary).run(guest, on: &targetHost))
        case .sticky: try stick(lab.target.primary)
        case .learning: break
        }
        try targetPrimary.send(FabricLab.announcement(of: lab.guestMAC))
        times.plug = begin...Stopwatch.realTime
    }

    /// Removes the guest from all bridges.
    func end(_ method: HandoverMethod) throws {
        switch method.kind {
        case .steered, .learned, .pinned:
            try check(Release().run(guest, on: &sourceHost))
            try check(Release().run(guest, on: &targetHost))
        case .sticky, .learning: break
        }
        for bridge in [lab.source.bridge, lab.target.bridge, lab.fabric] {
            guard let index = try Interface.index(of: bridge) else { throw LabError("there is no \(bridge)") }
            if let entry = try Table.read([address], bridge: index, using: &socket)[0] {
                try socket.perform(EntryRequest.delete(address, port: entry.port))
            }
        }
    }

    private func request(_ host: FabricLab.Host, at side: Side) throws -> PreparationRequest {
        try PreparationRequest(
            id: guest, bridge: host.bridge, primary: host.primary, standby: host.standby, uplink: host.uplink,
            addresses: [address], side: side)
    }

    private func setLearning(_ isOn: Bool) throws {
        try Command.script("bridge link set dev \(lab.target.standby) learning \(isOn ? "on" : "off")")
    }

    private func stick(_ port: String) throws {
        try Command.script("bridge fdb replace \(lab.guestMAC) dev \(port) master static sticky")
    }

    /// - Returns: the time of the last write to the kernel; nil if there was none.
    @discardableResult
    private func check(_ report: Report) throws -> Int64? {
        guard report.exitCode == 0 else {
            throw LabError("\(report.verb.rawValue): \(report.outcome.rawValue) \(report.failures) \(report.notes)")
        }
        let written = report.timings.writesEndNanoseconds
        return written == 0 ? nil : report.time + written
    }
}
