import Controller
import FDB
import Lab
import LossMeter
import Netlink
import Policy
import Records

/// A way to move the guest's address from one port to the other.
enum LossMethod: String, CaseIterable {
    case fdbsteer
    case replace
    case deleteAddOneSend = "del+add one send"
    case deleteAckAddAck = "del, ack, add, ack"
    case shell = "bridge fdb del; add"
    case prepare = "fdbsteer prepare"
    case release = "fdbsteer release"

    /// The methods that move between the ports; the others keep the path.
    static let moving: [LossMethod] = [.fdbsteer, .replace, .deleteAddOneSend, .deleteAckAddAck, .shell]

    /// The number of moves a second: a shell needs more time than a message.
    var movesPerSecond: Int { self == .shell ? 30 : 200 }
}

/// The lab's bridge with one guest, and the ways of each method to move it; used on one thread.
final class LossLab {
    let lab: BridgeLab
    private var socket: CommandSocket
    private var host: Host
    private let guest: GuestID
    private let request: PreparationRequest
    private let address: Address
    private let ports: [Int32]
    /// The path that carries the guest's frames: 0 the primary's, 1 the standby's.
    private var current = 0

    /// - Parameter state: the folder for the journal.
    init(state: String) throws {
        lab = try BridgeLab()
        socket = try CommandSocket()
        host = try Host(folder: StateFolder(state))
        guest = try GuestID("guest")
        address = try Address(lab.guestMAC)
        request = try PreparationRequest(
            id: guest, bridge: lab.bridge, primary: lab.primary, standby: lab.standby, uplink: lab.uplink,
            addresses: [address], side: nil)
        ports = try [lab.primary, lab.standby].map { name in
            guard let port = try Interface.index(of: name) else { throw LabError("there is no \(name)") }
            return port
        }
    }

    /// The interfaces behind which the guest's frames are counted.
    var paths: [String] { [lab.primary, lab.standby].map(BridgeLab.far) }

    /// Brings the bridge to the initial state of a method.
    func begin(_ method: LossMethod) throws {
        current = 0
        switch method {
        case .fdbsteer, .prepare:
            try learn()
            if method == .fdbsteer { try check(Prepare(request).run(on: &host)) }
        case .release:
            try learn()
            try check(Prepare(request).run(on: &host))
        case .replace, .deleteAddOneSend, .deleteAckAddAck, .shell:
            try Command.script(
                """
                bridge link set dev \(lab.primary) learning off
                bridge link set dev \(lab.standby) learning off
                bridge fdb replace \(lab.guestMAC) dev \(lab.primary) master static
                """)
        }
    }

    /// Removes the guest from the bridge again.
    func end(_ method: LossMethod) throws {
        if try !Status.read(nil, on: &host).isEmpty { try check(Release().run(guest, on: &host)) }
        try Command.script(
            """
            bridge link set dev \(lab.primary) learning on
            bridge link set dev \(lab.standby) learning on
            """)
        let found = try Table.read([address], bridge: bridge(), using: &socket)
        if let entry = found[0] { try socket.perform(EntryRequest.delete(address, port: entry.port)) }
    }

    /// Makes one change.
    func perform(_ method: LossMethod) throws -> Change {
        switch method {
        case .prepare, .release:
            // prepare and release alternate, and only the requested one is measured.
            let report =
                try Status.read(nil, on: &host).isEmpty
                ? Prepare(request).run(on: &host) : Release().run(guest, on: &host)
            try check(report)
            return Change(destination: nil, writes: report.writes)
        default: break
        }
        let target = 1 - current
        var writes: ClosedRange<Int64>?
        switch method {
        case .fdbsteer:
            let report = try Switch(to: target == 1 ? .standby : .primary).run(guest, on: &host)
            try check(report)
            writes = report.writes
        case .replace:
            try socket.perform(EntryChange(address, .replace, port: ports[target]).requests[0])
        case .deleteAddOneSend:
            let change = EntryChange(address, .deleteCreate, port: ports[target], oldPort: ports[current])
            if let error = Transaction([change]).run(on: &socket)[0] { throw error }
        case .deleteAckAddAck:
            for request in EntryChange(address, .deleteCreate, port: ports[target], oldPort: ports[current]).requests {
                try socket.perform(request)
            }
        case .shell:
            let names = [lab.primary, lab.standby]
            let script =
                "bridge fdb del \(lab.guestMAC) dev \(names[current]) master; "
                + "bridge fdb add \(lab.guestMAC) dev \(names[target]) master static"
            let command = try Command.run(["sh", "-c", script])
            guard command.exitCode == 0 else { throw LabError("\(script): \(command.errors)") }
        case .prepare, .release: break
        }
        current = target
        return Change(destination: target, writes: writes)
    }

    /// Makes the bridge learn the guest behind the primary from a frame of the guest.
    private func learn() throws {
        try BridgeLab.sendFrame(behind: lab.primary, source: lab.guestMAC)
        guard let entry = try lab.entry(lab.guestMAC), entry.contains(lab.primary) else {
            throw LabError("the bridge did not learn the guest behind \(lab.primary)")
        }
    }

    private func bridge() throws -> Int32 {
        guard let index = try Interface.index(of: lab.bridge) else { throw LabError("there is no \(lab.bridge)") }
        return index
    }

    private func check(_ report: Report) throws {
        guard report.outcome == .done else {
            throw LabError("\(report.verb.rawValue): \(report.outcome.rawValue) \(report.failures) \(report.notes)")
        }
    }
}

extension Report {
    /// The begin and end of the netlink writes, in nanoseconds of CLOCK_REALTIME.
    fileprivate var writes: ClosedRange<Int64> {
        time + timings.writesBeginNanoseconds...time + timings.writesEndNanoseconds
    }
}
