/// The procedure of a probe of a NIC's MAC filters, as a state machine without I/O.
///
/// It takes a VF through the states of a failover (unbound, bound, up, down, unbound, MAC cleared). In each state it asks
/// for a measurement with the MAC on the VF, on the interface that receives the standby's frames, on both, and on
/// neither. It always ends with the restoration.
public struct MACFilterProbe: Sendable {
    /// The state of the VF.
    public enum Phase: String, Hashable, Sendable, Codable {
        /// No driver is bound: the guest has left, or has not arrived yet.
        case unbound
        /// A driver is bound, and the interface is down.
        case bound
        /// The interface is up, and the guest receives.
        case up
        /// The interface is down again.
        case down
        /// The driver is unbound again.
        case unboundAgain = "unbound_again"
        /// The driver is unbound, and the MAC is cleared.
        case cleared
    }

    /// The filters that have the MAC.
    public enum Placement: String, Hashable, Sendable, Codable {
        /// No filter: shows what the NIC does with an unknown MAC.
        case none
        /// The VF's filter (IFLA_VF_MAC).
        case vf
        /// The PF's unicast list.
        case pf
        /// Both filters.
        case both
    }

    /// One state in which frames are counted.
    public struct State: Hashable, Sendable, Codable, CustomStringConvertible {
        /// The state of the VF.
        public let phase: Phase
        /// The filters that have the MAC.
        public let placement: Placement
        /// The VF got its MAC after it came up.
        public var isLate = false
        /// The PF accepts every frame that the NIC passes to it, as a bridge port does.
        public var isPromiscuous = false

        /// Makes a state from its fields.
        public init(_ phase: Phase, _ placement: Placement, isLate: Bool = false, isPromiscuous: Bool = false) {
            self.phase = phase
            self.placement = placement
            self.isLate = isLate
            self.isPromiscuous = isPromiscuous
        }

        /// The state as one word: `unbound-both`, `up-vf-late`, `unbound-vf-promiscuous`.
        public var description: String {
            "\(phase.rawValue)-\(placement.rawValue)" + (isLate ? "-late" : "") + (isPromiscuous ? "-promiscuous" : "")
        }
    }

    /// One change.
    public enum Change: Hashable, Sendable {
        /// The VF gets the MAC, or loses it.
        case vfMAC(Bool)
        /// The PF's unicast list gets the MAC, or loses it.
        case pfEntry(Bool)
        /// A driver gets the VF, or loses it.
        case bound(Bool)
        /// The VF's interface comes up, or goes down.
        case up(Bool)

        /// The change in words.
        public var words: String {
            switch self {
            case .vfMAC(let isOn): isOn ? "give the VF the MAC" : "clear the VF's MAC"
            case .pfEntry(let isOn): isOn ? "add the MAC to the PF's list" : "remove the MAC from the PF's list"
            case .bound(let isOn): isOn ? "bind the VF" : "unbind the VF"
            case .up(let isOn): isOn ? "bring the VF up" : "take the VF down"
            }
        }
    }

    /// What to do next.
    public enum Action: Hashable, Sendable {
        /// Bring the siblings up, configure the VLANs, and check that frames arrive at all.
        case setUp
        /// Make a change.
        case change(Change)
        /// Send frames and count where they arrive.
        case measure(State)
        /// Restore everything.
        case restore
        /// The probe is over.
        case finish(Outcome)
    }

    /// The result of an action.
    public enum Event: Hashable, Sendable {
        /// It succeeded.
        case done
        /// It failed, with the reason.
        case failed(String)
        /// A signal asks the probe to end.
        case interrupted
    }

    /// The outcome of the probe.
    public enum Outcome: Hashable, Sendable {
        /// Every state was measured, and everything was restored.
        case measured
        /// The probe ended early, and everything was restored.
        case stopped(String)
        /// Not everything could be restored.
        case notRestored([String])
    }

    private let script: [Action]
    private var position = 0
    private var current: Action?
    private var reason: String?
    /// States that could not be entered because the NIC refused the MAC on the PF, with the reason. It may refuse the MAC alone
    /// or only beside the VF's.
    public private(set) var refused: [State: String] = [:]
    private var refusal: String?

    /// One pass through the VF's states with the MAC on the VF, then another with the MAC on the PF alone.
    ///
    /// Entries of the PF's list are added and removed around each measurement, so "VF alone" and "both" see the same VF. Both
    /// passes end with the VF unbound.
    public init() {
        var script: [Action] = [.setUp]
        func measure(_ state: State) { script.append(.measure(state)) }
        func withEntry(_ states: State...) {
            script.append(.change(.pfEntry(true)))
            for state in states { script.append(.measure(state)) }
            script.append(.change(.pfEntry(false)))
        }
        measure(State(.unbound, .none))
        measure(State(.unbound, .none, isPromiscuous: true))
        script.append(.change(.vfMAC(true)))
        measure(State(.unbound, .vf))
        measure(State(.unbound, .vf, isPromiscuous: true))
        withEntry(State(.unbound, .both), State(.unbound, .both, isPromiscuous: true))
        let life: [(Change, Phase)] = [
            (.bound(true), .bound), (.up(true), .up), (.up(false), .down), (.bound(false), .unboundAgain),
        ]
        for (change, phase) in life {
            script.append(.change(change))
            measure(State(phase, .vf))
            if phase != .up { measure(State(phase, .vf, isPromiscuous: true)) }
            withEntry(State(phase, .both))
        }
        script.append(.change(.vfMAC(false)))
        measure(State(.cleared, .none))
        withEntry(State(.cleared, .pf))
        // The second pass: the VF does not have the probed MAC until it is up.
        withEntry(State(.unbound, .pf))
        for (change, phase) in life {
            script.append(.change(change))
            withEntry(State(phase, .pf))
            guard phase == .up else { continue }
            script.append(.change(.vfMAC(true)))
            measure(State(.up, .vf, isLate: true))
            withEntry(State(.up, .both, isLate: true))
            script.append(.change(.vfMAC(false)))
        }
        self.script = script
    }

    /// The number of actions before the restoration.
    public var count: Int { script.count }

    /// The number of the current action, from 1.
    public var number: Int { position + 1 }

    /// The states that are measured, in order.
    public var states: [State] { script.compactMap { if case .measure(let state) = $0 { state } else { nil } } }

    /// The first action.
    public mutating func start() -> Action { advance(to: 0) }

    /// Processes the result of the last action and returns the next action.
    public mutating func next(_ event: Event) -> Action {
        switch (current, event) {
        case (.restore, .done):
            return finish(reason.map(Outcome.stopped) ?? .measured)
        case (.restore, .failed(let message)):
            return finish(.notRestored([reason, message].compactMap { $0 }))
        case (.restore, .interrupted):
            // The restoration continues whatever happens.
            return .restore
        case (_, .interrupted):
            reason = "interrupted"
            return restore()
        case (.change(.pfEntry(true)), .failed(let message)):
            // A NIC may refuse a MAC that it already has elsewhere: that is a finding and does not end the probe.
            refusal = message
            return advance(to: position + 1)
        case (.measure(let state), .failed(let message)) where state.isPromiscuous:
            refused[state] = message
            return advance(to: position + 1)
        case (_, .failed(let message)):
            reason = message
            return restore()
        case (.finish, .done):
            return current ?? .restore
        case (_, .done):
            return advance(to: position + 1)
        }
    }

    /// Skips actions that a refused entry makes pointless.
    private mutating func advance(to index: Int) -> Action {
        var index = index
        while let refusal, index < script.count {
            if case .measure(let state) = script[index] { refused[state] = refusal }
            if case .change(.pfEntry(false)) = script[index] { self.refusal = nil }
            index += 1
        }
        position = index
        guard index < script.count else { return restore() }
        current = script[index]
        return script[index]
    }

    private mutating func restore() -> Action {
        current = .restore
        return .restore
    }

    private mutating func finish(_ outcome: Outcome) -> Action {
        current = .finish(outcome)
        return .finish(outcome)
    }
}
