/// The cost of one hand-over between hosts for one peer of the guest.
package struct HandoverResult: Hashable, Sendable {
    /// Frames that the peer sent.
    package var sent = 0
    /// Frames that reached no port on which the guest listened when they arrived.
    package var lost = 0
    /// Copies of frames beyond the first at any of the guest's ports.
    package var duplicated = 0
    /// The longest time, in nanoseconds, between the transmissions of two delivered frames with lost ones between;
    /// 0 without loss.
    package var outage: Int64 = 0
    /// Lost frames that were not in flight during the hand-over.
    package var unexplained = 0
    /// The tester lost frames itself, its clock was set, or the sender began too late: the result has no meaning.
    package var isVoid = false
}

/// Analyses the frames of a peer while a guest moved from port to port, without I/O.
package struct HandoverAnalysis: Sendable {
    /// For each path, the time during which the guest listened there (CLOCK_REALTIME, nanoseconds).
    package let listening: [Range<Int64>]
    /// The time from when the guest runs on the other host until every bridge between the peer and the guest knows it. Any
    /// controller may lose a frame that is in flight during that time.
    package let handover: ClosedRange<Int64>

    /// The least flight time to allow on an idle machine, in nanoseconds: a softirq may have to wait.
    static let leastFlight: Int64 = 1_000_000

    /// Makes an analysis from its fields.
    package init(listening: [Range<Int64>], handover: ClosedRange<Int64>) {
        self.listening = listening
        self.handover = handover
    }

    /// Counts the frames of a recording whose paths are those of ``listening``.
    package func result(_ recording: Recording) -> HandoverResult {
        var result = HandoverResult()
        result.isVoid = recording.testerDrops != 0 || recording.clockStepped
        result.duplicated = recording.repeats.reduce(0, +)
        var flight = HandoverAnalysis.leastFlight
        var lost: [Int64] = []
        var lastDelivered: Int64?
        var isInLoss = false
        for frame in recording.transmitted.indices where recording.transmitted[frame] != 0 {
            let sent = recording.transmitted[frame]
            result.sent += 1
            var isDelivered = false
            for (path, span) in listening.enumerated() where recording.received[path][frame] != 0 {
                let arrival = recording.received[path][frame]
                if span.contains(arrival) { isDelivered = true }
                flight = max(flight, arrival - sent)
            }
            result.duplicated += max(0, recording.received.count { $0[frame] != 0 } - 1)
            guard isDelivered else {
                lost.append(sent)
                isInLoss = true
                if lastDelivered == nil { lastDelivered = sent }
                continue
            }
            if isInLoss, let last = lastDelivered { result.outage = max(result.outage, sent - last) }
            isInLoss = false
            lastDelivered = sent
        }
        if isInLoss, let last = lastDelivered, let end = lost.last { result.outage = max(result.outage, end - last) }
        result.lost = lost.count
        result.unexplained = lost.count { $0 + flight < handover.lowerBound || $0 > handover.upperBound + flight }
        return result
    }
}
