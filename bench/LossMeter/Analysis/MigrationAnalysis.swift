/// The host ports through which a frame left towards the guest.
package struct ServedPorts: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The paravirtual NIC's port on the host where the guest started.
    package static let sourceStandby = ServedPorts(rawValue: 1)
    /// The VF's port on that host.
    package static let sourcePrimary = ServedPorts(rawValue: 2)
    /// The paravirtual NIC's port on the other host.
    package static let targetStandby = ServedPorts(rawValue: 4)
    /// The VF's port on the other host.
    package static let targetPrimary = ServedPorts(rawValue: 8)
    /// Both ports of the first host.
    package static let source: ServedPorts = [.sourceStandby, .sourcePrimary]
    /// Both ports of the other host.
    package static let target: ServedPorts = [.targetStandby, .targetPrimary]
}

/// The places where the guest saw a frame (bench/guest/observer.c, `enum mark`).
package struct GuestMarks: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// On its paravirtual NIC.
    package static let standby = GuestMarks(rawValue: 1)
    /// On its paravirtual NIC, more than once.
    package static let standbyAgain = GuestMarks(rawValue: 2)
    /// On its VF.
    package static let primary = GuestMarks(rawValue: 4)
    /// On its VF, more than once.
    package static let primaryAgain = GuestMarks(rawValue: 8)
    /// On its failover device, or on its only NIC: delivered.
    package static let accepted = GuestMarks(rawValue: 16)
    /// On that device, more than once: delivered twice.
    package static let acceptedAgain = GuestMarks(rawValue: 32)
}

/// The results for one peer's frames, by number.
package struct MigrationRecording: Sendable {
    /// The time when each frame was passed to the kernel, in nanoseconds of CLOCK_REALTIME; 0: it was not sent.
    package var transmitted: [Int64]
    /// The ports through which it left.
    package var served: [ServedPorts]
    /// The places where the guest saw it.
    package var marks: [GuestMarks]
    /// When the guest accepted it, in units of 10 microseconds of the guest's clock, which stands still while the guest does; 0:
    /// never.
    package var accepted: [UInt32]
    /// Its place in the order in which the guest accepted this peer's frames, from 1; 0: never.
    package var places: [UInt32]
    /// Frames that left by a port long after they were sent.
    package let departures: [Departure]

    /// A frame that was kept, and left by a port later.
    package struct Departure: Hashable, Sendable {
        /// Its number.
        package let frame: Int
        /// One port.
        package let port: ServedPorts
        /// In nanoseconds of CLOCK_REALTIME.
        package let time: Int64

        /// On its own a frame takes microseconds to a port, and a millisecond on a busy host; nanoseconds.
        package static let least: Int64 = 5_000_000

        /// Makes a departure from its fields.
        package init(frame: Int, port: ServedPorts, time: Int64) {
            self.frame = frame
            self.port = port
            self.time = time
        }
    }

    /// Makes a recording from its fields; shorter arrays are extended with empty values to the length of the first.
    package init(
        transmitted: [Int64], served: [ServedPorts], marks: [GuestMarks], accepted: [UInt32] = [],
        places: [UInt32] = [], departures: [Departure] = []
    ) {
        self.transmitted = transmitted
        self.departures = departures
        let count = transmitted.count
        func filled<T>(_ values: [T], _ empty: T) -> [T] {
            Array(values.prefix(count)) + Array(repeating: empty, count: max(0, count - values.count))
        }
        self.served = filled(served, [])
        self.marks = filled(marks, [])
        self.accepted = filled(accepted, 0)
        self.places = filled(places, 0)
    }
}

/// The reason why a frame was lost.
package enum LossKind: String, CaseIterable, Hashable, Sendable {
    /// The guest ran, and the frame was not sent to the NIC that the guest accepted frames from: it reached no NIC of the
    /// guest, or only one that the guest did not accept frames from.
    case steering
    /// The frame was sent to all NICs of the guest, and the guest accepted it from none.
    case guestGap
    /// The guest's processors were stopped when it was sent, or before it got from the port to the guest.
    case blackout
}

/// Frames of one peer that were lost in a row, for the same reason and in the same way.
package struct LossSpan: Hashable, Sendable {
    /// The reason.
    package let kind: LossKind
    /// The time when the first was sent, in nanoseconds of CLOCK_REALTIME.
    package let begin: Int64
    /// The time when the last was sent.
    package var end: Int64
    /// The number of frames.
    package var count = 1
    /// The ports through which they left, the same for all.
    package let served: ServedPorts
    /// The places where the guest saw them, the same for all.
    package let marks: GuestMarks

    /// Makes a span of one frame.
    package init(kind: LossKind, sent: Int64, served: ServedPorts, marks: GuestMarks) {
        self.kind = kind
        begin = sent
        end = sent
        self.served = served
        self.marks = marks
    }

    fileprivate func isLike(_ other: LossSpan) -> Bool {
        kind == other.kind && served == other.served && marks == other.marks
    }
}

/// The cost of one migration for one peer of the guest.
package struct MigrationResult: Hashable, Sendable {
    /// Frames that the peer sent.
    package var sent = 0
    /// Frames that the guest accepted.
    package var delivered = 0
    /// The lost frames, in the order of sending.
    package var spans: [LossSpan] = []
    /// Frames, but for those of ``LossKind/blackout``, that had left through the standby's port, and that no NIC of the guest
    /// saw: dropped between the two.
    package var unseen = 0
    /// Delivered frames that, while the guest ran, went to the other host alone: a queue there kept them until it came.
    package var late = 0
    /// Deliveries beyond a frame's first.
    package var duplicated = 0
    /// Frames that reached the guest through two ports.
    package var copied = 0
    /// The longest time, in nanoseconds, between the sending of two delivered frames with lost ones between; 0 without
    /// loss.
    package var outage: Int64 = 0
    /// What became of the frames of each phase.
    package var phases = PerPhase<PhaseCount>(PhaseCount())
    /// The fewest frames that would have to be taken out for the others to be in order (``DeliveryOrder/overtakers(_:)``).
    package var overtakers = 0

    /// Frames that were lost.
    package var lost: Int { sent - delivered }

    /// The number of frames that were lost for one reason.
    package func lost(_ kind: LossKind) -> Int { spans.reduce(0) { $0 + ($1.kind == kind ? $1.count : 0) } }
}

/// Accounts, without I/O, for each frame that was sent to a guest while it migrated, or while its VF came or went.
package struct MigrationAnalysis: Sendable {
    /// The times when the guest's processors were stopped, from QEMU's STOP to RESUME, in nanoseconds of CLOCK_REALTIME.
    package let blackouts: [ClosedRange<Int64>]
    /// The time when the guest began to run on the other host; nil: it stayed.
    package let handover: Int64?
    /// The guest has a failover pair; else its paravirtual NIC alone.
    package let isPair: Bool

    /// The longest time for which a hypervisor that is about to stop its guest may leave frames in the tap, in nanoseconds.
    static let longestFlight: Int64 = 250_000_000

    /// Makes an analysis from its fields.
    package init(blackouts: [ClosedRange<Int64>], handover: Int64?, isPair: Bool = true) {
        self.blackouts = blackouts
        self.handover = handover
        self.isPair = isPair
    }

    /// The frames that had left through a port when the guest received its last frame from it before it stopped.
    private struct Flight {
        let span: Range<Int64>
        let ports: ServedPorts
    }

    /// The results, one for each peer. The peers are analysed together because each of them helps to date the last frame that
    /// the guest received before it stopped.
    package func results(_ recordings: [MigrationRecording]) -> [MigrationResult] {
        let flights = blackouts.compactMap { flight(before: $0.lowerBound, recordings) }
        return recordings.map { recording in
            var result = result(recording, flights: flights)
            let order = DeliveryOrder(recording, stop: blackouts.first?.lowerBound, resumed: blackouts.last?.upperBound)
            order.count(into: &result) { phase(of: $0, recording, flights) }
            return result
        }
    }

    private func phase(of frame: Int, _ recording: MigrationRecording, _ flights: [Flight]) -> MigrationPhase {
        let sent = recording.transmitted[frame]
        if isOfBlackout(frame, recording, flights) { return .blackout }
        return blackouts.last.map { sent > $0.upperBound } ?? false ? .arriving : .leaving
    }

    /// It was sent while the guest was stopped, or was on its way when that began.
    private func isOfBlackout(_ frame: Int, _ recording: MigrationRecording, _ flights: [Flight]) -> Bool {
        let (sent, served) = (recording.transmitted[frame], recording.served[frame])
        return blackouts.contains { $0.contains(sent) }
            || (recording.marks[frame].isEmpty
                && flights.contains { $0.span.contains(sent) && !served.isDisjoint(with: $0.ports) })
    }

    /// The frames that were in flight when the guest stopped: those that left through the same port as the last frame that it
    /// saw, and after that frame.
    private func flight(before stop: Int64, _ recordings: [MigrationRecording]) -> Flight? {
        let ports = ports(at: stop - 1)
        var last: (sent: Int64, ports: ServedPorts)?
        for recording in recordings {
            for frame in recording.transmitted.indices where !recording.marks[frame].isEmpty {
                let sent = recording.transmitted[frame]
                let served = recording.served[frame].intersection(ports)
                guard sent >= stop - MigrationAnalysis.longestFlight, sent < stop, !served.isEmpty,
                    sent > last?.sent ?? 0
                else { continue }
                last = (sent, served)
            }
        }
        return last.map { Flight(span: $0.sent..<stop, ports: $0.ports) }
    }

    /// The guest's ports on the host where it is.
    private func ports(at moment: Int64) -> ServedPorts {
        let isThere = handover.map { moment >= $0 } ?? false
        if isPair { return isThere ? .target : .source }
        return isThere ? .targetStandby : .sourceStandby
    }

    private func result(_ recording: MigrationRecording, flights: [Flight]) -> MigrationResult {
        var result = MigrationResult()
        var lastDelivered: Int64?
        var isInLoss = false
        for frame in recording.transmitted.indices where recording.transmitted[frame] != 0 {
            let sent = recording.transmitted[frame]
            let (served, marks) = (recording.served[frame], recording.marks[frame])
            result.sent += 1
            if marks.contains(.acceptedAgain) { result.duplicated += 1 }
            if marks.isSuperset(of: [.standby, .primary]) { result.copied += 1 }
            if marks.contains(.accepted) {
                result.delivered += 1
                if served.isDisjoint(with: ports(at: sent)), !served.isEmpty,
                    !blackouts.contains(where: { $0.contains(sent) })
                {
                    result.late += 1
                }
                if isInLoss, let last = lastDelivered { result.outage = max(result.outage, sent - last) }
                isInLoss = false
                lastDelivered = sent
                continue
            }
            if lastDelivered == nil { lastDelivered = sent }
            let kind: LossKind =
                if isOfBlackout(frame, recording, flights) {
                    .blackout
                } else if served.isSuperset(of: ports(at: sent)) {
                    .guestGap
                } else {
                    .steering
                }
            if kind != .blackout, marks.isEmpty,
                !served.isDisjoint(with: ports(at: sent).intersection([.sourceStandby, .targetStandby]))
            {
                result.unseen += 1
            }
            let span = LossSpan(kind: kind, sent: sent, served: served, marks: marks)
            if isInLoss, let last = result.spans.indices.last, result.spans[last].isLike(span) {
                result.spans[last].end = sent
                result.spans[last].count += 1
            } else {
                result.spans.append(span)
            }
            isInLoss = true
        }
        if isInLoss, let last = lastDelivered, let end = result.spans.last?.end {
            result.outage = max(result.outage, end - last)
        }
        return result
    }
}
