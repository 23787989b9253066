import FDB
import Glibc
import Lab
import Netlink
import System

/// What is beside the guest's neighbours.
enum NeighbourCase: String, CaseIterable, Sendable {
    case alone = "the guest's alone"
    case others = "with others'"
    case collected = "with others', after the kernel's collection"
}

/// What came of one hand-over of a guest with neighbours.
struct EVPNNeighbourResult: Sendable {
    /// How long the target's `switch` took, its process included, in nanoseconds.
    let took: Int64
    /// From the start of that process until zebra has made the guest's IPv4 and IPv6 address a neighbour on the source, in
    /// nanoseconds; nil: it did not.
    let routes: [Int64?]
    /// The guest's neighbours are where it is and there alone, in the end.
    let isRight: Bool
    /// The neighbours of other guests are as before, FRR's on the source and others' on the target.
    let othersStay: Bool
    /// Both hosts are as their records say.
    let isSettled: Bool
    /// How often the MAC has moved, as bgpd on the source has it.
    let mobility: Int?
    /// Hosts whose zebra holds the MAC for a duplicate.
    let duplicates: Int
}

/// Hand-overs of guests whose neighbours follow them (docs/neighbours.md); used on one thread.
final class EVPNNeighbourRun {
    /// How long a route may take, and both hosts until they are as their records say, in nanoseconds.
    private static let patience: Int64 = 10_000_000_000

    private let lab: EVPNLab
    private let source: EVPNHost
    private let target: EVPNHost
    private let crowd: NeighbourCrowd
    private var guests = 0
    private(set) var results: [NeighbourCase: [EVPNNeighbourResult]] = [:]

    init(_ lab: EVPNLab, scratch: String, neighbours: Int) throws {
        self.lab = lab
        source = try EVPNHost(lab.source, programs: OwnProgram.folder, state: TemporaryFolder(parent: scratch).path)
        target = try EVPNHost(lab.target, programs: OwnProgram.folder, state: TemporaryFolder(parent: scratch).path)
        crowd = try NeighbourCrowd(lab, count: neighbours)
    }

    /// Each case has the same number of hand-overs, in turn.
    func run(_ count: Int) throws {
        for host in [source, target] { try host.startDaemon() }
        defer { for host in [source, target] { host.endDaemon() } }
        if let obstacle = NeighbourCrowd.obstacle { print("SKIPPED: \(NeighbourCase.collected.rawValue): \(obstacle)") }
        let cases = NeighbourCase.allCases.filter { $0 != .collected || NeighbourCrowd.obstacle == nil }
        for _ in 0..<count {
            for kind in cases {
                if kind == .others { try crowd.setOthers(areThere: true) }
                results[kind, default: []].append(try handOver(kind))
            }
            try crowd.setOthers(areThere: false)
        }
    }

    private func handOver(_ kind: NeighbourCase) throws -> EVPNNeighbourResult {
        guests += 1
        let guest = try EVPNGuest(number: guests)
        try prepare(guest)
        if kind == .collected { for host in [lab.source, lab.target] { try crowd.makeKernelCollect(on: host) } }
        let before = try [lab.source, lab.target].map { try crowd.others(on: $0) }
        let watches = try guest.addresses.map { try RouteWatch($0, on: lab.source) }
        let start = Stopwatch.realTime
        try target.fdbsteer("switch \(guest.id) --to standby")
        let switched = Stopwatch.realTime
        try? wait("the source has the routes") { watches.allSatisfy(\.hasSeen) }
        let routes = watches.map { $0.end().map { $0 - start } }
        let settled: ()? = try? wait("both hosts follow") {
            try [source, target].allSatisfy {
                try $0.fdbsteer("verify \(guest.id)", expecting: [0, 3]).exitCode == 0
            }
        }
        if kind == .collected { for host in [lab.source, lab.target] { try crowd.makeKernelCollect(on: host) } }
        let result = EVPNNeighbourResult(
            took: switched - start, routes: routes,
            isRight: try neighbours(guest, lab.target).allSatisfy { $0?.isOwn == true && $0?.state == .permanent }
                && neighbours(guest, lab.source).allSatisfy { $0?.isControlPlanes == true && $0?.isOwn == false },
            othersStay: try [lab.source, lab.target].map { try crowd.others(on: $0) } == before,
            isSettled: settled != nil, mobility: try lab.mobility(of: guest.mac, on: lab.source),
            duplicates: try [lab.source, lab.target].count { try lab.isDuplicate(guest.mac, on: $0) })
        for host in [source, target] { try host.fdbsteer("release \(guest.id)") }
        try? target.script("bridge fdb del \(guest.mac) dev \(lab.target.standby) master")
        return result
    }

    /// The guest is on the source, both hosts know it, and the target has its routes.
    private func prepare(_ guest: EVPNGuest) throws {
        let options = " --neighbour br0 --ip \(guest.addresses.map(\.description).joined(separator: ","))"
        try source.prepare(guest.id, guest.mac, at: "standby" + options)
        try wait("the target has the routes of \(guest.id)") {
            try neighbours(guest, lab.target).allSatisfy { $0?.isControlPlanes == true }
        }
        try target.prepare(guest.id, guest.mac, at: "remote" + options)
    }

    /// A host's neighbours for a guest's addresses.
    private func neighbours(_ guest: EVPNGuest, _ host: EVPNLab.Host) throws -> [IPNeighbour?] {
        try host.namespace.run {
            guard let bridge = try Interface.index(of: host.bridge) else { return [nil] }
            var socket = try CommandSocket()
            return try IPNeighbour.read(guest.addresses.map { ($0, bridge) }, using: &socket)
        }
    }

    private func wait(_ what: String, until isSo: () throws -> Bool) throws {
        let end = monotonicNanoseconds() + EVPNNeighbourRun.patience
        while try !isSo() {
            guard monotonicNanoseconds() < end else { throw LabError("not within 10 s: \(what)") }
            usleep(10_000)
        }
    }
}
