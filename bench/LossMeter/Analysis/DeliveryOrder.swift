/// The phase of a migration in which a frame was sent.
package enum MigrationPhase: String, CaseIterable, Hashable, Sendable {
    /// Before the guest was stopped.
    case leaving
    /// While it was stopped, or so shortly before that it was on its way.
    case blackout
    /// After it ran on.
    case arriving
}

/// One value for each phase.
package struct PerPhase<Value: Hashable & Sendable>: Hashable, Sendable {
    private var leaving, blackout, arriving: Value

    /// The same value for all phases.
    package init(_ value: Value) { (leaving, blackout, arriving) = (value, value, value) }

    /// The value of a phase.
    package subscript(phase: MigrationPhase) -> Value {
        get {
            switch phase {
            case .leaving: leaving
            case .blackout: blackout
            case .arriving: arriving
            }
        }
        set {
            switch phase {
            case .leaving: leaving = newValue
            case .blackout: blackout = newValue
            case .arriving: arriving = newValue
            }
        }
    }
}

/// What became of one peer's frames of one phase.
package struct PhaseCount: Hashable, Sendable {
    /// The guest accepted them never.
    package var lost = 0
    /// The guest accepted them more than once.
    package var doubled = 0
    /// The guest had accepted a later one before (RFC 4737, 4.2.2: Type-P-Reordered).
    package var late = 0
    /// The longest time between the sending and the acceptance of one, in nanoseconds.
    package var delay: Int64 = 0

    /// - Parameter lost: frames that the guest never accepted.
    package init(lost: Int = 0) { self.lost = lost }
}

/// The order and the delay of one peer's frames as a guest accepted them, without I/O.
struct DeliveryOrder {
    private let recording: MigrationRecording
    /// When the guest was stopped, and when it ran on, in nanoseconds of CLOCK_REALTIME.
    private let stop: Int64?
    private let resumed: Int64?

    /// The unit of ``MigrationRecording/accepted``, in nanoseconds.
    private static let unit: Int64 = 10_000

    init(_ recording: MigrationRecording, stop: Int64?, resumed: Int64?) {
        self.recording = recording
        self.stop = stop
        self.resumed = resumed
    }

    /// Adds the figures of each phase and the overtakers to a result.
    func count(into result: inout MigrationResult, phase: (Int) -> MigrationPhase) {
        let marks = recording.marks
        for frame in recording.transmitted.indices where recording.transmitted[frame] != 0 {
            if !marks[frame].contains(.accepted) {
                result.phases[phase(frame)].lost += 1
            } else if marks[frame].contains(.acceptedAgain) {
                result.phases[phase(frame)].doubled += 1
            }
        }
        let arrivals = arrivals
        var newest = -1
        for frame in arrivals {
            if frame < newest { result.phases[phase(frame)].late += 1 }
            newest = max(newest, frame)
        }
        result.overtakers = DeliveryOrder.overtakers(arrivals)
        for (frame, delay) in delays(arrivals) {
            let phase = phase(frame)
            result.phases[phase].delay = max(result.phases[phase].delay, delay)
        }
    }

    /// The frames in the order in which the guest first accepted them.
    private var arrivals: [Int] {
        recording.places.indices.filter { recording.places[$0] != 0 && recording.transmitted[$0] != 0 }.sorted {
            recording.places[$0] < recording.places[$1]
        }
    }

    /// The length of the sequence without that of its longest ascending part: one frame that passes twenty makes twenty late, and is
    /// one overtaker.
    static func overtakers(_ arrivals: [Int]) -> Int {
        // The least last element of an ascending part of each length.
        var ends: [Int] = []
        for frame in arrivals {
            var (low, high) = (0, ends.count)
            while low < high {
                let middle = (low + high) / 2
                if ends[middle] < frame { low = middle + 1 } else { high = middle }
            }
            if low == ends.count { ends.append(frame) } else { ends[low] = frame }
        }
        return arrivals.count - ends.count
    }

    /// The guest's clock stood still while the guest was stopped, so it is compared with the hosts' before and after that. Each time
    /// the fastest frame counts as one without delay.
    private func delays(_ arrivals: [Int]) -> [(frame: Int, delay: Int64)] {
        func lag(_ frame: Int) -> Int64 {
            Int64(recording.accepted[frame]) * DeliveryOrder.unit - recording.transmitted[frame]
        }
        guard let before = arrivals.filter({ recording.transmitted[$0] < stop ?? .max }).map(lag).min() else {
            return []
        }
        let after = arrivals.filter { recording.transmitted[$0] > resumed ?? .max }.map(lag).min() ?? before
        // The guest's clock when it stopped.
        let turn = stop.map { $0 + before } ?? .max
        return arrivals.map { frame in
            let isBefore = Int64(recording.accepted[frame]) * DeliveryOrder.unit <= turn
            return (frame, lag(frame) - (isBefore ? before : after))
        }
    }
}
