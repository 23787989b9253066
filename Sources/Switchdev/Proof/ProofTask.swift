public import FDB
public import Netlink
import System

/// What must be shown after a redirection to prove that hardware followed.
public struct ProofTask: Hashable, Sendable {
    /// The place of a sentinel: the same representor and VLAN as the move that it proves.
    public struct Spot: Hashable, Sendable {
        /// Interface index of the port.
        public let port: Int32
        /// The port's name, for messages.
        public let name: String
        /// The VLAN of the addresses that moved; nil on a bridge that does not filter VLANs.
        public let vlan: VLANID?

        /// Makes a spot from its parts.
        public init(port: Int32, name: String, vlan: VLANID?) {
            self.port = port
            self.name = name
            self.vlan = vlan
        }
    }

    /// Interface index of the bridge.
    public let bridge: Int32
    /// New entries on eswitch ports: when they show OFFLOADED, the driver has reported them.
    public var fresh: [Address]
    /// Entries on eswitch ports that must show OFFLOADED but may have had the flag before; only the barrier proves them.
    public var flagged: [Address]
    /// Ports whose driver must have processed every change up to now. A driver's queue is ordered: when a sentinel made
    /// after the moves is offloaded, every earlier change has been processed.
    public var barriers: Set<Spot>
    /// The reasons why a part cannot be proven.
    public var obstacles: [String]

    /// - Parameter bridge: interface index of the bridge.
    public init(
        bridge: Int32, fresh: [Address] = [], flagged: [Address] = [], barriers: Set<Spot> = [],
        obstacles: [String] = []
    ) {
        self.bridge = bridge
        self.fresh = fresh
        self.flagged = flagged
        self.barriers = barriers
        self.obstacles = obstacles
    }

    /// No port of a switch is involved.
    public var isEmpty: Bool { fresh.isEmpty && flagged.isEmpty && barriers.isEmpty && obstacles.isEmpty }

    /// The first pause between two checks in nanoseconds. The driver's worker and the check both need RTNL, so frequent checks
    /// delay the result.
    private static let firstPause: Int64 = 200_000
    private static let longestPause: Int64 = 20_000_000

    /// Makes sentinels, waits until they and the entries are offloaded, and removes the sentinels.
    ///
    /// - Parameters:
    ///   - timeout: the longest wait, in nanoseconds.
    ///   - socket: in the bridge's network namespace.
    /// - Returns: the proof. It throws nothing: a proof that could not be made is a missing one.
    /// - Complexity: the time that the hardware takes; each check is one send for up to 64 entries.
    public func run(timeout: Int64, using socket: inout CommandSocket) -> OffloadProof {
        if isEmpty { return .nothingToProve }
        if let obstacle = obstacles.first { return .missing(reason: obstacle) }
        let spots = barriers.sorted { ($0.port, $0.vlan?.rawValue ?? 0) < ($1.port, $1.vlan?.rawValue ?? 0) }
        let sentinels = spots.compactMap { spot in Sentinel.make(vlan: spot.vlan).map { (spot: spot, address: $0) } }
        let requests = sentinels.map {
            EntryRequest.set($0.address, port: $0.spot.port, state: .noARP, flags: [.create, .exclusive])
        }
        let refusals = socket.perform(requests)
        let proof: OffloadProof
        if let (sentinel, refusal) = zip(sentinels, refusals).first(where: { $1 != nil }) {
            proof = .missing(
                reason: "no sentinel could be put on \(sentinel.spot.name)\(refusal.map { ": \($0)" } ?? "")")
        } else {
            proof = wait(for: sentinels, timeout: timeout, using: &socket)
        }
        let removals = sentinels.map { EntryRequest.delete($0.address, port: $0.spot.port) }
        for (sentinel, failure) in zip(sentinels, socket.perform(removals)) {
            guard let failure, failure.errno != .noEntry else { continue }
            return .missing(reason: "the sentinel \(sentinel.address) could not be removed again: \(failure)")
        }
        return proof
    }

    private func wait(
        for sentinels: [(spot: Spot, address: Address)], timeout: Int64, using socket: inout CommandSocket
    ) -> OffloadProof {
        let start = monotonicNanoseconds()
        var pending = fresh + flagged + sentinels.map(\.address)
        var pause = ProofTask.firstPause
        while true {
            do throws(NetlinkError) {
                let found = try Table.read(pending, bridge: bridge, using: &socket)
                pending = zip(pending, found).filter { $1?.flags.contains(.offloaded) != true }.map(\.0)
            } catch {
                return .missing(reason: "the entries could not be read: \(error)")
            }
            let elapsed = monotonicNanoseconds() - start
            if pending.isEmpty { return .proven(evidence: evidence(elapsed)) }
            guard elapsed < timeout else { return .missing(reason: reason(pending, sentinels, elapsed)) }
            sleepNanoseconds(min(pause, timeout - elapsed))
            pause = min(pause * 2, ProofTask.longestPause)
        }
    }

    private func evidence(_ elapsed: Int64) -> String {
        var parts: [String] = []
        if !fresh.isEmpty {
            parts.append("hardware reported \(fresh.count == 1 ? "the new entry" : "\(fresh.count) new entries")")
        }
        if !barriers.isEmpty {
            let names = Set(barriers.map(\.name)).sorted().joined(separator: " and ")
            parts.append("a barrier on \(names) shows that every earlier change there is processed")
        }
        return parts.joined(separator: "; ")
    }

    private func reason(
        _ pending: [Address], _ sentinels: [(spot: Spot, address: Address)], _ elapsed: Int64
    ) -> String {
        let open = Set(pending)
        let stuck = Set(sentinels.filter { open.contains($0.address) }.map(\.spot.name)).sorted()
        let waited = "within \((elapsed + 500_000) / 1_000_000) ms"
        if !stuck.isEmpty {
            return
                "the driver of \(stuck.joined(separator: " and ")) did not offload a fresh entry \(waited): it is slow, "
                + "full, or refuses entries"
        }
        return "hardware did not report \(pending.count == 1 ? "\(pending[0])" : "\(pending.count) entries") \(waited)"
    }
}
