import Glibc
import Netlink
import Policy
import Switchdev
import System

/// A descriptor that ends waits.
package struct Hangup: Sendable {
    /// For poll(2).
    let descriptor: Int32
    /// What ends them.
    let events: Int16
    /// Why, in words that go on "was".
    let words: String

    /// - Parameters:
    ///   - descriptor: for poll(2).
    ///   - events: what ends waits.
    ///   - words: why, in words that go on "the wait was".
    package init(_ descriptor: Int32, events: Int32, _ words: String) {
        self.descriptor = descriptor
        self.events = Int16(events)
        self.words = words
    }
}

extension [Hangup] {
    /// Waits at most so many milliseconds (poll(2)).
    ///
    /// - Returns: why the first of those that came did, in words that go on "was"; nil for none.
    func first(within milliseconds: Int32) -> String? {
        var polled = map { pollfd(fd: $0.descriptor, events: $0.events, revents: 0) }
        guard poll(&polled, nfds_t(polled.count), milliseconds) > 0 else { return nil }
        return polled.firstIndex { $0.revents != 0 }.map { self[$0].words }
    }
}

/// Waits on the calling thread, in one poll(2), for the first of several signals.
struct SignalWaiter: ~Copyable {
    /// How a wait ended.
    enum Outcome: Equatable {
        case came(SignalSighting)
        /// Why some could not be heard is in words.
        case timedOut([String])
        /// By SIGINT, SIGTERM, a ``Hangup``, or others; in words that go on "was".
        case interrupted(String)
        /// None of the signals can come any more.
        case impossible([String])
    }

    let wait: SignalWait
    private var sources: [(signal: Signal, source: any SignalSource)] = []
    /// SIGINT, SIGTERM and the process signals that sources take: held back from here on. None where ``hangups`` end the wait.
    private let signals: SignalSet?
    private let hangups: [Hangup]

    /// How often it is looked whether others have ended the wait, in nanoseconds.
    private static let pause: Int64 = 100_000_000

    /// Opens what the signals need, so that nothing but time can fail afterwards.
    ///
    /// - Parameters:
    ///   - wait: what to wait for.
    ///   - guest: whose frames and ports are meant.
    ///   - ips: the IP addresses that its record has.
    ///   - hangups: what ends the wait in a process that hears its own signals elsewhere; nil for the signals.
    ///   - socket: for names of interfaces.
    /// - Throws: ``ControllerError`` of code `precondition`.
    init(
        _ wait: SignalWait, guest: GuestInterface, ips: [AnnouncementRequest.Owned] = [], until hangups: [Hangup]?,
        using socket: inout CommandSocket
    ) throws(ControllerError) {
        self.wait = wait
        self.hangups = hangups ?? []
        for signal in wait.signals { sources.append((signal, try signal.source(of: guest, ips: ips, using: &socket))) }
        let taken = [SIGINT, SIGTERM] + sources.flatMap(\.source.processSignals)
        signals =
            hangups == nil ? try ControllerError.system { () throws(SystemError) in try SignalSet(taken) } : nil
    }

    deinit { signals?.release() }

    /// Waits.
    ///
    /// - Parameters:
    ///   - end: how others have ended the wait, in words that go on "was"; nil while they have not.
    ///   - tell: takes why a signal cannot be heard at present, once for each reason.
    mutating func run(until end: () -> String?, _ tell: (String) -> Void) throws(ControllerError) -> Outcome {
        let start = monotonicNanoseconds()
        for (_, source) in sources { try source.begin() }
        var isFirst = true
        var reasons: [String] = []
        var told: [String] = []
        while true {
            let now = monotonicNanoseconds()
            if let words = hangups.first(within: 0) ?? end() { return .interrupted(words) }
            switch signals?.next() {
            case SIGINT: return .interrupted("interrupted by SIGINT")
            case SIGTERM: return .interrupted("interrupted by SIGTERM")
            case let signal?: for (_, source) in sources { source.hear(signal) }
            case nil: break
            }
            for (signal, source) in sources {
                switch source.look(now: now, isFirst: isFirst) {
                case .came(let seen): return .came(sighting(signal, seen, wasAlready: false, since: start))
                case .wasSo(let seen): return .came(sighting(signal, seen, wasAlready: true, since: start))
                case .never(let reason):
                    reasons.append("\(signal): \(reason)")
                    sources.removeAll { $0.source === source }
                case .notYet: break
                }
            }
            if sources.isEmpty { return .impossible(reasons) }
            isFirst = false
            let troubles = troubles
            for words in troubles where !told.contains(words) { tell(words) }
            told = troubles
            guard now - start < wait.timeout else { return .timedOut(troubles) }
            poll(until: start + wait.timeout)
        }
    }

    /// Why signals cannot be heard at present.
    private var troubles: [String] {
        sources.compactMap { signal, source in source.trouble.map { "\(signal): \($0)" } }
    }

    private func poll(until end: Int64) {
        var polled = [pollfd(fd: signals?.descriptor ?? -1, events: Int16(POLLIN), revents: 0)]
        polled += hangups.map { pollfd(fd: $0.descriptor, events: $0.events, revents: 0) }
        var deadline = min(end, monotonicNanoseconds() + SignalWaiter.pause)
        for (_, source) in sources {
            polled.append(pollfd(fd: source.descriptor, events: source.pollEvents, revents: 0))
            if let next = source.deadline { deadline = min(deadline, next) }
        }
        // Rounded up: a look before the deadline would find nothing.
        let milliseconds = max(0, (deadline - monotonicNanoseconds() + 999_999) / 1_000_000)
        _ = Glibc.poll(&polled, nfds_t(polled.count), Int32(min(milliseconds, 3_600_000)))
    }

    private func sighting(_ signal: Signal, _ seen: String, wasAlready: Bool, since start: Int64) -> SignalSighting {
        let now = monotonicNanoseconds()
        return SignalSighting(
            signal: signal.description, seen: seen, wasAlready: wasAlready, monotonicNanoseconds: now,
            seenAt: Stopwatch.realTime, waitedNanoseconds: now - start)
    }
}
