package import Exposition
package import Policy

/// What the daemon alone can count, filled by its loop and handed to whoever writes the page.
///
/// Counters begin at 0 with each start of the daemon; the values that are known beforehand are on the page from the start.
package struct DaemonCounters: Hashable, Sendable {
    /// Why every guest was checked.
    package enum ResyncReason: String, Hashable, Sendable, CaseIterable {
        /// The daemon started.
        case start
        /// The kernel dropped notifications (ENOBUFS).
        case overrun
        /// The configuration was read again.
        case reload
        /// The configured interval was over.
        case interval
    }

    /// Signals on the page from the start; a wait for another one adds it.
    package static let knownSignals = ["qmp"]

    /// What conditions are counted by.
    package struct ConditionKind: Hashable, Sendable {
        let code: String
        let severity: Condition.Severity

        init(_ condition: Condition) {
            code = condition.code
            severity = condition.severity
        }
    }

    /// When the daemon started, in nanoseconds since 1970 (CLOCK_REALTIME).
    package var startedAt: Int64
    /// Repairs that held, by what had changed.
    package var driftRepairs: [Watch.Cause: UInt64] = [:]
    /// Repairs that failed.
    package var driftFailures: UInt64 = 0
    /// Guests that lost entries again and again, so that repairs were held back: how often that began.
    package var driftBackoffs: UInt64 = 0
    /// Guests whose repairs are held back now.
    package var driftFights: Int = 0
    /// Primary ports that vanished or left their bridge, so that the guest was moved at once.
    package var primaryLosses: UInt64 = 0
    /// The same of each guest that is watched.
    package var lostPrimaries: [GuestID: UInt64] = [:]

    /// Counts the loss of a guest's primary.
    mutating func losePrimary(of guest: GuestID) {
        primaryLosses += 1
        lostPrimaries[guest, default: 0] += 1
    }

    private struct MoveKind: Hashable {
        let bridge: String
        let origin: Moves.Origin
    }

    /// Moves of guests' addresses by bridge and by how the entry was made.
    private var moves: [MoveKind: UInt64] = [:]

    /// Counts a move of a guest's address.
    mutating func countMove(on bridge: String, _ origin: Moves.Origin) {
        moves[MoveKind(bridge: bridge, origin: origin), default: 0] += 1
    }

    /// There is a guest on a bridge: its series begin at 0.
    mutating func expectMoves(on bridge: String) {
        for origin in Moves.Origin.allCases where origin != .local {
            moves[MoveKind(bridge: bridge, origin: origin), default: 0] += 0
        }
    }

    /// Guests that were found to have left, because their frames came in by the uplink.
    package var departures: UInt64 = 0
    /// What the kernel refused, by symbolic error number (`ENODEV`).
    package var netlinkErrors: [String: UInt64] = [:]
    /// How often the kernel dropped notifications because the daemon read too slowly.
    package var netlinkOverruns: UInt64 = 0
    /// Checks of every guest by reason.
    package var resyncs: [ResyncReason: UInt64] = [:]
    /// How long redirections waited for a signal, by signal.
    package private(set) var signalWaits: [String: DurationHistogram] = [:]
    /// Whether QEMU's monitor answers, for each guest whose configuration names one.
    package var qmpConnected: [GuestID: Bool] = [:]
    /// How many conditions of each code and severity a guest has; guests without conditions are not there.
    package var conditions: [GuestID: [ConditionKind: Int]] = [:]
    /// Operations of the daemon's own that fail and are tried again.
    package var troubles = 0
    /// Whether a guest answers questions, for each of which that is known.
    package var answers: [GuestID: Bool] = [:]
    /// Inquiries by their results.
    private var inquiries: [String: UInt64] = [:]
    /// Frames that watched guests missed while they migrated, by what became of them, and replays by what came of them.
    private var replays: [GuestID: [ReplayAccount.Part: Replays]] = [:]

    private struct Replays: Hashable {
        var (kept, sent, dropped, done, refused): (UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0)
    }

    /// From a notification that was there already to a guest that takes minutes: 1 ms to 60 s, in nanoseconds.
    private static let bounds: [Int64] = [
        1_000_000, 5_000_000, 10_000_000, 50_000_000, 100_000_000, 250_000_000, 500_000_000, 1_000_000_000,
        2_500_000_000, 5_000_000_000, 10_000_000_000, 30_000_000_000, 60_000_000_000,
    ]
    private static let knownErrors = ["EBUSY", "EEXIST", "EINVAL", "ENODEV", "ENOENT", "EPERM"]

    /// - Parameter startedAt: when the daemon started, in nanoseconds since 1970 (CLOCK_REALTIME).
    package init(startedAt: Int64) {
        self.startedAt = startedAt
        for signal in DaemonCounters.knownSignals {
            signalWaits[signal] = DurationHistogram(bounds: DaemonCounters.bounds)
        }
    }

    /// Causes on the page from the start: what ``Drift`` finds.
    private static let knownCauses: [Watch.Cause] = [.stolen, .removed, .weakened, .port, .flagLost, .neighbour]
    /// Counts a repair.
    package mutating func countRepair(_ cause: Watch.Cause) { driftRepairs[cause, default: 0] += 1 }

    private static let knownInquiries = ["answered", "silent", "cannot"]
    /// Counts an inquiry.
    package mutating func countInquiry(_ result: InquiryResult) {
        switch result {
        case .answered: inquiries["answered", default: 0] += 1
        case .silent: inquiries["silent", default: 0] += 1
        case .cannot: inquiries["cannot", default: 0] += 1
        }
    }

    /// Counts what a guest's replay has come to.
    package mutating func count(_ account: ReplayAccount, of guest: GuestID) {
        var sum = replays[guest]?[account.part] ?? Replays()
        sum.kept += UInt64(account.kept)
        sum.sent += UInt64(account.sent)
        sum.dropped += UInt64(account.dropped)
        if account.refusal == nil { sum.done += 1 } else { sum.refused += 1 }
        replays[guest, default: [:]][account.part] = sum
    }

    /// A guest is not watched any more.
    mutating func forget(_ guest: GuestID) {
        lostPrimaries[guest] = nil
        replays[guest] = nil
    }

    /// Counts a refusal of the kernel.
    package mutating func countError(_ errno: String) { netlinkErrors[errno, default: 0] += 1 }

    /// Counts a check of every guest.
    package mutating func countResync(_ reason: ResyncReason) { resyncs[reason, default: 0] += 1 }

    /// Counts a wait for a signal; the name is the program's, not a guest's.
    package mutating func countWait(for signal: String, nanoseconds: Int64) {
        signalWaits[signal, default: DurationHistogram(bounds: DaemonCounters.bounds)].observe(nanoseconds)
    }

    /// The families made of them.
    package var families: [MetricFamily] {
        var repairs = MetricFamily(
            "fdbsteer_drift_repairs_total", .counter,
            help: "Entries and port settings that were put right, by what had changed.",
            labels: ["cause"])
        for cause in DaemonCounters.knownCauses { repairs.set(driftRepairs[cause] ?? 0, cause.rawValue) }
        var errors = MetricFamily(
            "fdbsteer_netlink_errors_total", .counter, help: "Requests that the kernel refused, by error number.",
            labels: ["errno"])
        for errno in Set(DaemonCounters.knownErrors).union(netlinkErrors.keys) {
            errors.set(netlinkErrors[errno] ?? 0, errno)
        }
        var reasons = MetricFamily(
            "fdbsteer_resyncs_total", .counter, help: "Checks of every guest, by reason.",
            labels: ["reason"])
        for reason in ResyncReason.allCases { reasons.set(resyncs[reason] ?? 0, reason.rawValue) }
        var waits = MetricFamily(
            "fdbsteer_signal_wait_seconds", .histogram,
            help: "How long redirections waited for the signal that the guest was ready, by signal.", labels: ["signal"]
        )
        for (signal, histogram) in signalWaits { waits.set(.durations(histogram), signal) }
        var monitors = MetricFamily(
            "fdbsteer_qmp_connected", .gauge,
            help: "1 while QEMU's monitor of the guest answers; only guests whose configuration names one.",
            labels: ["guest"])
        for (guest, isConnected) in qmpConnected { monitors.set(isConnected ? 1 : 0, guest.text) }
        var conditions = MetricFamily(
            "fdbsteer_conditions", .gauge,
            help: "What is wrong with a guest now, by the code of docs/daemon.md; only guests with which something is.",
            labels: ["guest", "code", "severity"])
        for (guest, kinds) in self.conditions {
            for (kind, count) in kinds { conditions.set(Int64(count), guest.text, kind.code, kind.severity.rawValue) }
        }
        var lost = MetricFamily(
            "fdbsteer_guest_primary_losses_total", .counter,
            help: "Primary ports of a guest that vanished or left their bridge, so that it was moved at once.",
            labels: ["guest"])
        for (guest, count) in lostPrimaries { lost.set(count, guest.text) }
        var answering = MetricFamily(
            "fdbsteer_guest_answers", .gauge,
            help:
                "1 where the guest answers when it is asked whether it takes its port's frames; only where that is known.",
            labels: ["guest"])
        for (guest, isYes) in answers { answering.set(isYes ? 1 : 0, guest.text) }
        var asked = MetricFamily(
            "fdbsteer_inquiries_total", .counter, help: "Guests that were asked whether they take a port's frames.",
            labels: ["result"])
        for result in DaemonCounters.knownInquiries { asked.set(inquiries[result] ?? 0, result) }
        var kept = MetricFamily(
            "fdbsteer_replayed_frames_total", .counter,
            help: "Frames that guests missed while they migrated, by what became of them (docs/zero.md).",
            labels: ["guest", "part", "result"])
        var courses = MetricFamily(
            "fdbsteer_replays_total", .counter,
            help: "Parts of migrations whose frames were kept, by whether what the guest missed was sent again.",
            labels: ["guest", "part", "result"])
        for (guest, parts) in replays {
            for (part, sum) in parts {
                kept.set(sum.kept, guest.text, part.rawValue, "kept")
                kept.set(sum.sent, guest.text, part.rawValue, "sent")
                kept.set(sum.dropped, guest.text, part.rawValue, "dropped")
                courses.set(sum.done, guest.text, part.rawValue, "done")
                courses.set(sum.refused, guest.text, part.rawValue, "refused")
            }
        }
        var moved = MetricFamily(
            "fdbsteer_mac_moves_total", .counter,
            help: "Moves of guests' addresses to another port of the bridge, by how the entry there was made.",
            labels: ["bridge", "origin"])
        for (kind, count) in moves { moved.set(count, kind.bridge, kind.origin.rawValue) }
        var start = MetricFamily(
            "fdbsteer_start_time_seconds", .gauge, help: "When the daemon started, in seconds since 1970.")
        start.set(.real(Double(startedAt) / 1e9))
        return [
            repairs, errors, reasons, waits, monitors, conditions, lost, answering, asked, moved, kept, courses,
            start,
            single(
                "fdbsteer_daemon_troubles", .gauge, UInt64(clamping: troubles),
                help:
                    "Operations of the daemon's own that fail and are tried again, as writing to a full /run or reading the history."
            ),
            single(
                "fdbsteer_drift_backoffs_total", .counter, driftBackoffs,
                help: "How often repairs of a guest were held back because something kept undoing them."),
            single(
                "fdbsteer_drift_fights", .gauge, UInt64(clamping: driftFights),
                help: "Guests whose repairs are held back now because something keeps undoing them."),
            single(
                "fdbsteer_primary_losses_total", .counter, primaryLosses,
                help: "Primary ports that vanished or left their bridge, so that the guest was moved at once."),
            single(
                "fdbsteer_drift_failures_total", .counter, driftFailures,
                help: "Repairs that the kernel refused or that did not hold."),
            single(
                "fdbsteer_departures_total", .counter, departures,
                help: "Guests that were found to have left, because their frames came in by the uplink."),
            single(
                "fdbsteer_netlink_overruns_total", .counter, netlinkOverruns,
                help: "How often the kernel dropped notifications because they were read too slowly."),
        ]
    }

    private func single(
        _ name: MetricName, _ kind: MetricFamily.Kind, _ value: UInt64, help: String
    ) -> MetricFamily {
        var family = MetricFamily(name, kind, help: help)
        family.set(value)
        return family
    }
}
