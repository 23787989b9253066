/// The course of a probe of a NIC's MAC filters, as a state machine without I/O.
///
/// It walks a VF through the life that it has in a failover (unbound, bound, up, down, unbound, its MAC cleared), with the
/// MAC on the VF, on the interface that the standby's frames come by, on both and on neither, and asks for a
/// measurement in each state. Whatever happens it ends with the restoration.
public struct MACFilterProbe: Sendable {
    /// Where the VF is in its life.
    public enum Phase: String, Hashable, Sendable, Codable {
        /// No driver has it: the guest is gone, or not there yet.
        case unbound
        /// A driver has it, its interface is down.
        case bound
        /// Its interface is up: the guest receives.
        case up
        /// Its interface is down again.
        case down
        /// The driver has let go of it.
        case unboundAgain = "unbound_again"
        /// And its MAC was cleared.
        case cleared
    }

    /// Whose filters have the MAC.
    public enum Placement: String, Hashable, Sendable, Codable {
        /// Nobody's: what the NIC does with an unknown MAC.
        case none
        /// The VF's (IFLA_VF_MAC).
        case vf
        /// The PF's unicast list.
        case pf
        /// Both.
        case both
    }

    /// One state in which frames are counted.
    public struct State: Hashable, Sendable, Codable, CustomStringConvertible {
        /// Where the VF is in its life.
        public let phase: Phase
        /// Whose filters have the MAC.
        public let placement: Placement
        /// The VF got its MAC when it was up already.
        public var isLate = false
        /// The PF takes every frame that the NIC gives it, as a bridge's port does.
        public var isPromiscuous = false

        /// Makes a state from its parts.
        public init(_ phase: Phase, _ placement: Placement, isLate: Bool = false, isPromiscuous: Bool = false) {
            self.phase = phase
            self.placement = placement
            self.isLate = isLate
            self.isPromiscuous = isPromiscuous
        }

        /// One word: `unbound-both`, `up-vf-late`, `unbound-vf-promiscuous`.
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

        /// In words.
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
        /// Bring the siblings up, make VLANs known, and see that frames come through at all.
        case setUp
        /// Make a change.
        case change(Change)
        /// Send frames and count where they arrive.
        case measure(State)
        /// Put everything back.
        case restore
        /// The end.
        case finish(Outcome)
    }

    /// What happened to an action.
    public enum Event: Hashable, Sendable {
        /// It succeeded.
        case done
        /// It failed, and why.
        case failed(String)
        /// A signal asks for the end.
        case interrupted
    }

    /// How it ended.
    public enum Outcome: Hashable, Sendable {
        /// Every state was measured, and everything is as it was.
        case measured
        /// It ended early, and everything is as it was.
        case stopped(String)
        /// Not everything could be put back.
        case notRestored([String])
    }

    private let script: [Action]
    private var position = 0
    private var current: Action?
    private var reason: String?
    /// States that could not be made, because the NIC refused the MAC on the PF beside the VF or alone, and why.
    public private(set) var refused: [State: String] = [:]
    private var refusal: String?

    /// The life of the VF with the MAC, then the same with the MAC on the PF alone.
    ///
    /// Entries of the PF's list are added and removed around each measurement, so that "VF alone" and "both" see the same
    /// VF. Both lives end unbound.
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
        // The second life: the VF has no MAC of ours until it is up.
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

    /// How many actions there are before the restoration.
    public var count: Int { script.count }

    /// The number of the current action, from 1.
    public var number: Int { position + 1 }

    /// The states that are measured, in order.
    public var states: [State] { script.compactMap { if case .measure(let state) = $0 { state } else { nil } } }

    /// The first action.
    public mutating func start() -> Action { advance(to: 0) }

    /// Takes what happened to the last action and returns the next.
    public mutating func next(_ event: Event) -> Action {
        switch (current, event) {
        case (.restore, .done):
            return finish(reason.map(Outcome.stopped) ?? .measured)
        case (.restore, .failed(let message)):
            return finish(.notRestored([reason, message].compactMap { $0 }))
        case (.restore, .interrupted):
            // The restoration goes on whatever comes.
            return .restore
        case (_, .interrupted):
            reason = "interrupted"
            return restore()
        case (.change(.pfEntry(true)), .failed(let message)):
            // A NIC may refuse a MAC that it has elsewhere: that is a finding, not the end.
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

    /// Passes over what a refused entry makes pointless.
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
