public import FDB

/// What an inquiry has found.
public enum InquiryResult: Hashable, Sendable {
    /// The guest takes the frames of the port: by this MAC it answered a question so many nanoseconds after it was put.
    case answered(after: Int64, by: MACAddress)
    /// None of so many questions was answered, from the first of them on for so many nanoseconds. A guest that does not take the
    /// port's frames is silent, and so is one that was stopped, or whose firewall drops ARP.
    case silent(asks: Int, in: Int64)
    /// The guest could not be asked, for this reason.
    case cannot(String)
}

/// How often an inquiry asks, in nanoseconds.
public struct InquiryPace: Hashable, Sendable {
    /// How long it listens to the guest before the first question.
    public var listening: Int64 = 0
    /// The time between two questions at first.
    public var shortest: Int64 = 10_000_000
    /// The time between two questions at last. In between it is a tenth of the time since the first one, so that an answer is
    /// found that much late, and a minute has about a hundred questions.
    public var longest: Int64 = 1_000_000_000
    /// When it ends without an answer, after the first question; nil: it goes on.
    public var limit: Int64?

    /// Until an answer comes: for who waits for the guest.
    public static let waiting = InquiryPace()
    /// For a decision that somebody waits for. An answer takes a millisecond, and 41 ms from a guest that was not scheduled.
    public static let deciding = InquiryPace(shortest: 20_000_000, longest: 100_000_000, limit: 500_000_000)
    /// At rest: whether the guest answers at all. RFC 5227's probes are at most 2 s apart (PROBE_MAX), as are the last of them
    /// and the address's first use (ANNOUNCE_WAIT): who has heard none for so long disturbs none.
    public static let resting = InquiryPace(
        listening: 2_000_000_000, shortest: 200_000_000, longest: 200_000_000, limit: 1_000_000_000)
    /// For a primary that the guest may use any time: it probes the address again when its link has come up.
    public static let readiness = InquiryPace(listening: resting.listening)

    /// Makes a pace from its parts.
    public init(
        listening: Int64 = 0, shortest: Int64 = 10_000_000, longest: Int64 = 1_000_000_000, limit: Int64? = nil
    ) {
        self.listening = listening
        self.shortest = shortest
        self.longest = longest
        self.limit = limit
    }
}

/// One inquiry: when to put the next question, what an answer shows, and when it is over. It has no clock; times are nanoseconds
/// of CLOCK_MONOTONIC.
public struct InquiryCourse: Hashable, Sendable {
    private let pace: InquiryPace
    private let firstNumber: UInt16
    /// When the first question was put, and moved by each pause.
    private var begun: Int64?
    /// When the next question is due.
    private var next: Int64
    /// When the last questions were put, by their count.
    private var times: [Int64] = []
    /// How many questions were put.
    public private(set) var asks = 0
    private var pauses = 0
    /// When the guest was last heard to probe the address.
    public private(set) var probedAt: Int64?
    /// How it ended.
    public private(set) var result: InquiryResult?

    /// Questions whose answers are told from an earlier inquiry's.
    private static let remembered = 1024
    /// Longer than the guest waits between two of its probes, or after the last.
    package static let pause: Int64 = 3_000_000_000
    /// Probes are three (PROBE_NUM), and after ten conflicts one a minute: a guest with more is not asked.
    static let mostPauses = 10

    /// - Parameters:
    ///   - firstNumber: any: the answers to another inquiry are not taken for this one's.
    ///   - probedAt: when the guest was last heard to probe the address before; nil for never.
    ///   - now: when it begins.
    public init(_ pace: InquiryPace, firstNumber: UInt16, probedAt: Int64? = nil, now: Int64) {
        self.pace = pace
        self.firstNumber = firstNumber
        self.probedAt = probedAt
        next = max(now + pace.listening, probedAt.map { $0 + InquiryCourse.pause } ?? now)
    }

    /// When to look at it again; nil once it is over.
    public var due: Int64? {
        guard result == nil else { return nil }
        guard let begun, let limit = pace.limit else { return next }
        return min(next, begun + limit)
    }

    /// Lets time pass.
    ///
    /// - Returns: the number of a question to put now; nil for none.
    public mutating func ask(now: Int64) -> UInt16? {
        guard result == nil else { return nil }
        if let begun, let limit = pace.limit, now - begun >= limit {
            result = .silent(asks: asks, in: now - begun)
            return nil
        }
        guard now >= next else { return nil }
        let since = begun ?? now
        begun = since
        next = now + min(max((now - since) / 10, pace.shortest), pace.longest)
        if times.count < InquiryCourse.remembered {
            times.append(now)
        } else {
            times[asks % InquiryCourse.remembered] = now
        }
        asks += 1
        return firstNumber &+ UInt16(truncatingIfNeeded: asks - 1)
    }

    /// An answer came.
    ///
    /// - Parameters:
    ///   - number: the question's; one that was not put, or too long ago, is not this inquiry's.
    ///   - mac: whose answer it is.
    public mutating func hear(answerTo number: UInt16, by mac: MACAddress, now: Int64) {
        let behind = Int(firstNumber &+ UInt16(truncatingIfNeeded: asks &- 1) &- number)
        guard result == nil, behind < min(asks, InquiryCourse.remembered) else { return }
        result = .answered(after: now - times[(asks - 1 - behind) % InquiryCourse.remembered], by: mac)
    }

    /// The guest probes the address itself (RFC 5227): another's question would be a conflict to it.
    public mutating func hearProbe(now: Int64) {
        guard result == nil else { return }
        probedAt = now
        pauses += 1
        if pauses > InquiryCourse.mostPauses {
            return stop("the guest tries again and again whether the address is free (RFC 5227)")
        }
        let until = now + InquiryCourse.pause
        if let begun { self.begun = begun + max(0, until - max(next, now)) }
        next = max(next, until)
    }

    /// The guest cannot be asked any more.
    public mutating func stop(_ reason: String) { if result == nil { result = .cannot(reason) } }
}
