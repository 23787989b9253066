/// Judges from the signs of one address where it is, without I/O; docs/evidence.md has the table.
///
/// Two things follow from signs. The *entry* follows who spoke last, as on a bridge that learns: that is cheap, and the next frame
/// undoes it. The *record*, and with it all that a redirection does, follows proof. Both directions need the same strength: a few
/// frames on one side prove nothing while the other side may still speak.
///
/// Times are of CLOCK_MONOTONIC, in nanoseconds.
package struct Trail: Hashable, Sendable {
    /// What QEMU says of the guest. It stands above frames, which others can send too.
    package enum Word: Hashable, Sendable {
        /// It runs here.
        case here
        /// It is on its way to another host: the end of the migration says whether it has gone.
        case leaving
        /// It is on another host, or awaited from there.
        case elsewhere
    }

    /// How long and how often.
    package struct Limits: Hashable, Sendable {
        /// A guest that has sent nothing for this long, while frames of its address came in by the uplink, has left.
        package var silence: Int64 = 30_000_000_000
        /// So long an entry stays with the side that spoke last; then it returns to where the record has it.
        package var patience: Int64 = 1_000_000_000
        /// A guest that spoke so shortly ago is about to speak again.
        package var recent: Int64 = 250_000_000
        /// So many frames of its own port, with no pause longer than ``patience``, are more than a host's kernel sends by itself with
        /// a guest's MAC (duplicate address detection, MLD reports and router solicitations: nine, with pauses of seconds).
        package var frames = 8
        /// The same frames count only after this time if the uplink speaks too.
        package var contested: Int64 = 10_000_000_000

        package init() {}
    }

    /// Signs of one side.
    private struct Run: Hashable {
        let first: Int64
        var last: Int64
        var count = 0
        var announcements = 0
        var span: Int64 { last - first }
    }

    /// Signs of the uplink since the guest's own ports last spoke.
    private var uplink: Run?
    /// Signs of its own ports since the uplink last spoke.
    private var own: Run?
    /// Signs of its own ports without a pause, whatever the uplink said.
    private var steady: Run?
    /// When the address last answered a question by the guest's own port, if the uplink did not speak since.
    private var answered: Int64?
    /// Since when a control plane says that the address is elsewhere.
    private var claimed: Int64?
    /// The last sign of any side.
    package private(set) var last: Int64 = 0

    package init() {}

    // MARK: - Signs

    private static func extend(_ run: inout Run?, at now: Int64, by count: Int, _ announcements: Int = 0) {
        var new = run ?? Run(first: now, last: now)
        new.last = now
        new.count += count
        new.announcements += announcements
        run = new
    }

    /// Frames of the address came in by the uplink.
    package mutating func heardAbroad(at now: Int64) {
        Trail.extend(&uplink, at: now, by: 1)
        own = nil
        answered = nil
        last = now
    }

    /// Frames of the address came in by one of the guest's own ports.
    ///
    /// - Parameter announcements: those of them with which a hypervisor announces a guest (RARP).
    package mutating func heardAtHome(at now: Int64, count: Int = 1, announcements: Int = 0, limits: Limits) {
        if let steady, now - steady.last > limits.patience { self.steady = nil }
        Trail.extend(&steady, at: now, by: count)
        Trail.extend(&own, at: now, by: count, announcements)
        uplink = nil
        last = now
    }

    /// The address answered a question that was put by one of the guest's own ports: the guest takes that port's frames.
    ///
    /// The answer itself is a frame of that port, and counts as such where it is heard.
    package mutating func answeredAtHome(at now: Int64, limits: Limits) {
        heardAtHome(at: now, count: 0, limits: limits)
        answered = now
    }

    /// A control plane has the address elsewhere.
    package mutating func claimedAbroad(at now: Int64) {
        claimed = claimed ?? now
        last = now
    }

    /// What a control plane had said is undone.
    package mutating func unclaim() { claimed = nil }

    // MARK: - Judgements

    /// What is to be done about an entry that is not where the record has it.
    package enum Verdict: Hashable, Sendable {
        /// It goes back.
        case restore
        /// It stays where it is; look again then.
        case leave(until: Int64)
        /// The address is where its entry is.
        case believe
    }

    /// Judges an address that the record has here, and whose entry is behind the uplink.
    package func departure(at now: Int64, _ limits: Limits) -> Verdict {
        if let claimed {
            // A control plane moves an entry once. What the guest sends afterwards contradicts it.
            if let steady, steady.last > claimed { return .restore }
            return now - claimed >= limits.patience ? .believe : .leave(until: claimed + limits.patience)
        }
        // Its own port spoke last, or it is the first frame: a network may return a guest's own frame.
        guard let uplink, uplink.count > 1 else { return .restore }
        if uplink.count >= 3, uplink.span >= limits.silence { return .believe }
        if let steady, now - steady.last <= limits.recent { return .restore }
        return now - uplink.last < limits.patience ? .leave(until: uplink.last + limits.patience) : .restore
    }

    /// Judges an address that the record has on another host, and that is heard by a port of the guest's own.
    ///
    /// - Parameter isAdvertised: a control plane has told the fabric that the address is here, and nobody else has a route to it. It moves
    ///   the entry by itself when another host claims the address; who moves it before makes the guest unreachable.
    package func arrival(at now: Int64, _ limits: Limits, isAdvertised: Bool = false) -> Verdict {
        if let answered, now - answered <= limits.patience { return .believe }
        if let own, own.announcements >= 2 || (own.count >= 3 && own.span >= limits.silence) { return .believe }
        if let steady, now - steady.last < limits.patience {
            let isAlone = own.map { $0.first <= steady.first } ?? false
            let isLong = steady.span >= (isAlone ? limits.patience : limits.contested)
            return steady.count >= limits.frames && isLong ? .believe : .leave(until: steady.last + limits.patience)
        }
        guard isAdvertised, let own else { return .restore }
        let end = own.first + limits.silence
        return now < end ? .leave(until: end) : .believe
    }

    /// Whether the guest's own ports have spoken, by whatever address, since the uplink began to.
    package func isContradicted(byOwnSignAt time: Int64) -> Bool {
        guard let begin = claimed ?? uplink?.first else { return true }
        return time > begin
    }
}
