public import Switchdev

/// What the ports' counters show about a redirection. It is recorded with each one.
public struct Evidence: Hashable, Sendable, Codable {
    /// The moment at which counters were read.
    public enum Moment: String, Hashable, Sendable, Codable, CaseIterable {
        /// Before the first write.
        case before
        /// Right after the entries moved.
        case moved
        /// At the end, or when the old port had become quiet (`--observe`).
        case after
    }

    /// Counters by moment; a moment at which the port did not exist is missing.
    public struct Counters: Hashable, Sendable, Codable {
        private var before: PortCounters?
        private var moved: PortCounters?
        private var after: PortCounters?

        /// Makes an empty set of counters.
        public init() {}

        /// The counters of a moment.
        public subscript(moment: Moment) -> PortCounters? {
            get {
                switch moment {
                case .before: before
                case .moved: moved
                case .after: after
                }
            }
            set {
                switch moment {
                case .before: before = newValue
                case .moved: moved = newValue
                case .after: after = newValue
                }
            }
        }
    }

    /// One port's counters during the redirection.
    public struct Port: Hashable, Sendable, Codable {
        /// The port's name.
        public let name: String
        /// The side that the port serves.
        public let side: Side
        /// The counters by moment.
        public var counters = Counters()

        /// Makes a port from its fields.
        package init(name: String, side: Side, counters: Counters = Counters()) {
            self.name = name
            self.side = side
            self.counters = counters
        }

        /// The increase of a counter between two moments; nil if one is missing, or if the counter began again in between.
        package func growth(
            _ counter: KeyPath<PortCounters, UInt64>, from first: Moment, to last: Moment
        ) -> UInt64? {
            guard let old = counters[first], let new = counters[last] else { return nil }
            return new[keyPath: counter].growth(since: old[keyPath: counter])
        }

        /// The port was made anew between the first look and the last: its counters say nothing.
        package var beganAgain: Bool {
            guard let old = counters[.before], let new = counters[.after] else { return false }
            return new.hasBegunAgain(since: old)
        }
    }

    /// The guest's ports.
    public var ports: [Port]
    /// The side that the guest left.
    public let from: Side
    /// The side that the guest moved to.
    public let to: Side
    /// The time for which the old port was watched after the move, in nanoseconds.
    public var observedNanoseconds: Int64 = 0
    /// The duration of the proof, in nanoseconds.
    public var proofNanoseconds: Int64 = 0
    /// The old port had stopped sending by the end of that time.
    public var becameQuiet = false

    /// Makes evidence from its fields.
    package init(ports: [Port], from: Side, to: Side) {
        self.ports = ports
        self.from = from
        self.to = to
    }

    /// Frames that still left through the old port after the entries had moved; nil if nothing moved.
    public var leftByOldPort: UInt64? {
        guard from != to, let old = ports.first(where: { $0.side == from }) else { return nil }
        return old.growth(\.txPackets, from: .moved, to: .after)
    }

    /// Frames that the ports dropped between `before` and `after`.
    public var dropped: UInt64 {
        ports.reduce(0) { sum, port in
            sum.plus(port.growth(\.txDropped, from: .before, to: .after) ?? 0)
                .plus(port.growth(\.rxDropped, from: .before, to: .after) ?? 0)
        }
    }

    /// What the counters show about loss, and how certain that is.
    public var words: [String] {
        var words = [
            dropped == 0
                ? "no port dropped a frame between the first look and the last"
                : "the ports dropped \(dropped) frames between the first look and the last"
        ]
        for port in ports where port.beganAgain {
            words.append("the counters of \(port.name) began again between the looks and say nothing")
        }
        if let left = leftByOldPort, let old = ports.first(where: { $0.side == from }) {
            let watched = "in the \(observedNanoseconds / 1000) us after the move"
            words.append(
                left == 0
                    ? "nothing left by the old port \(old.name) \(watched)"
                    : "\(left) frames left by the old port \(old.name) \(watched): floods and broadcasts count too"
                        + (becameQuiet ? "; it was quiet then" : ""))
        }
        words.append(
            "how sure: the counters see what the bridge's ports passed and dropped, not a frame that reached a port whose "
                + "guest did not take it, nor, on drivers that do not count it, what hardware forwarded")
        return words
    }
}
