public import FDB
public import Switchdev

/// The arguments of `probe mac-filter`.
public struct ProbeRequest: Hashable, Sendable {
    /// The netdev of the physical function.
    public let pf: String
    /// The number of the VF that is to be probed.
    public let vf: UInt32
    /// The MAC that is to be probed, and a VLAN for tagged frames beside untagged ones.
    public let address: Address
    /// The netdev that frames are sent from: on the same network as the PF, but not of the same NIC.
    public let from: String
    /// The number of another VF that frames are sent from too.
    public let sibling: UInt32?
    /// The driver that the VF is bound to; nil for the one that belongs to the PF's.
    public let driver: String?
    /// Frames of each kind and state.
    public let frames: Int

    /// - Parameters:
    ///   - pf: the netdev of the physical function.
    ///   - vf: the number of the VF.
    ///   - address: the MAC, and a VLAN for tagged frames.
    ///   - from: the netdev that frames are sent from.
    ///   - sibling: the number of another VF that sends.
    ///   - driver: the VF's driver.
    ///   - frames: of each kind and state.
    /// - Throws: ``ControllerError`` of code `usage` for arguments that contradict each other.
    public init(
        pf: String, vf: UInt32, address: Address, from: String, sibling: UInt32? = nil, driver: String? = nil,
        frames: Int = 20
    ) throws(ControllerError) {
        guard sibling != vf else {
            throw ControllerError(
                .usage, "--vf and --sibling-vf are the same, \(vf)", remedy: "name another VF as sibling")
        }
        guard from != pf else {
            throw ControllerError(
                .usage, "--from is the NIC itself, \(pf): its own frames never come in by the wire",
                remedy: "name a port of another NIC on the same network")
        }
        guard (4...1000).contains(frames) else {
            throw ControllerError(.usage, "--frames \(frames)", remedy: "it goes from 4 to 1000")
        }
        self.pf = pf
        self.vf = vf
        self.address = address
        self.from = from
        self.sibling = sibling
        self.driver = driver
        self.frames = frames
    }
}

/// What a probe found.
public struct ProbeReport: Hashable, Sendable, Encodable {
    /// How it ended.
    public enum Result: String, Hashable, Sendable, Encodable {
        /// Measured, and everything is as it was.
        case done
        /// Ended early, and everything is as it was.
        case stopped
        /// Not everything could be put back.
        case notRestored = "not_restored"
        /// Only planned (`--dry-run`).
        case planned
    }

    /// How it ended.
    public var outcome: Result
    /// The NIC.
    public let nic: NICIdentity
    /// The netdev of the physical function.
    public let pf: String
    /// The VF's number.
    public let vf: UInt32
    /// `MAC` or `MAC/VLAN`.
    public let address: String
    /// Where the frames arrived.
    public var states: [MACFilterCounts] = []
    /// States that the NIC refused, and why.
    public var refused: [String: String] = [:]
    /// The verdict; nil when the probe did not come to its end.
    public var verdict: MACFilterVerdict?
    /// The verdict in words.
    public var words: [String] = []
    /// What went wrong.
    public var failures: [String] = []
    /// What the operator should know.
    public var notes: [String] = []
    /// From the call to the end, in nanoseconds.
    public var totalNanoseconds: Int64 = 0

    /// Makes one from its parts.
    package init(outcome: Result, nic: NICIdentity, pf: String, vf: UInt32, address: String) {
        self.outcome = outcome
        self.nic = nic
        self.pf = pf
        self.vf = vf
        self.address = address
    }

    /// The process's exit code.
    public var exitCode: Int32 {
        switch outcome {
        case .done, .planned: 0
        case .stopped: ControllerError.Code.rolledBack.rawValue
        case .notRestored: ControllerError.Code.notRolledBack.rawValue
        }
    }
}
