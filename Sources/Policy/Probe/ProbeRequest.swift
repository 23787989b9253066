public import FDB
public import Switchdev

/// The arguments of `probe mac-filter`.
public struct ProbeRequest: Hashable, Sendable {
    /// The netdev of the physical function.
    public let pf: String
    /// The number of the VF to probe.
    public let vf: UInt32
    /// The MAC to probe, with a VLAN if tagged frames are sent in addition to untagged ones.
    public let address: Address
    /// The netdev that sends the frames: on the same network as the PF, but not on the same NIC.
    public let from: String
    /// The number of another VF that sends frames too.
    public let sibling: UInt32?
    /// The driver to bind to the VF; nil for the VF driver that matches the PF's driver.
    public let driver: String?
    /// The number of frames of each kind in each state.
    public let frames: Int

    /// - Parameters:
    ///   - pf: the netdev of the physical function.
    ///   - vf: the number of the VF.
    ///   - address: the MAC, and a VLAN for tagged frames.
    ///   - from: the netdev that sends the frames.
    ///   - sibling: the number of another VF that sends.
    ///   - driver: the VF's driver.
    ///   - frames: the number of frames of each kind in each state.
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

/// The result of a probe.
public struct ProbeReport: Hashable, Sendable, Encodable {
    /// How the probe ended.
    public enum Result: String, Hashable, Sendable, Encodable, CaseIterable {
        /// Everything was measured, and everything was restored.
        case done
        /// The probe ended early, and everything was restored.
        case stopped
        /// Not everything could be restored.
        case notRestored = "not_restored"
        /// The probe was only planned (`--dry-run`).
        case planned
    }

    /// How the probe ended.
    public var outcome: Result
    /// The NIC.
    public let nic: NICIdentity
    /// The netdev of the physical function.
    public let pf: String
    /// The VF's number.
    public let vf: UInt32
    /// `MAC` or `MAC/VLAN`.
    public let address: String
    /// The places at which the frames arrived.
    public var states: [MACFilterCounts] = []
    /// States that the NIC refused, with the reasons.
    public var refused: [String: String] = [:]
    /// The verdict; nil if the probe ended early.
    public var verdict: MACFilterVerdict?
    /// The verdict in words.
    public var words: [String] = []
    /// What went wrong.
    public var failures: [String] = []
    /// What the operator should know.
    public var notes: [String] = []
    /// The time from the call to the end, in nanoseconds.
    public var totalNanoseconds: Int64 = 0

    /// Makes a report from its fields.
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
