import Glibc
import Netlink
import Policy
import Switchdev
import System

/// Waits on the calling thread, in one poll(2), for the first of several signals.
struct SignalWaiter: ~Copyable {
    /// How a wait ended.
    enum Outcome: Equatable {
        case came(SignalSighting)
        /// Why some could not be heard is in words.
        case timedOut([String])
        /// By SIGINT or SIGTERM.
        case interrupted(Int32)
        /// None of the signals can come any more.
        case impossible([String])
    }

    let wait: SignalWait
    private var sources: [(signal: Signal, source: any SignalSource)] = []
    /// SIGINT, SIGTERM and the process signals that sources take: held back from here on.
    private let signals: SignalSet

    /// Opens what the signals need, so that nothing but time can fail afterwards.
    ///
    /// - Parameters:
    ///   - wait: what to wait for.
    ///   - guest: whose frames and ports are meant.
    ///   - ips: the IP addresses that its record has.
    ///   - socket: for names of interfaces.
    /// - Throws: ``ControllerError`` of code `precondition`.
    init(
        _ wait: SignalWait, guest: GuestInterface, ips: [AnnouncementRequest.Owned] = [],
        using socket: inout CommandSocket
    ) throws(ControllerError) {
        self.wait = wait
        for signal in wait.signals { sources.append((signal, try signal.source(of: guest, ips: ips, using: &socket))) }
        let taken = [SIGINT, SIGTERM] + sources.flatMap(\.source.processSignals)
        signals = try ControllerError.system { () throws(SystemError) in try SignalSet(taken) }
    }

    deinit { signals.release() }

    /// Waits.
    ///
    /// - Parameter tell: takes why a signal cannot be heard at present, once for each reason.
    mutating func run(_ tell: (String) -> Void) throws(ControllerError) -> Outcome {
        let start = monotonicNanoseconds()
        for (_, source) in sources { try source.begin() }
        var isFirst = true
        var reasons: [String] = []
        var told: [String] = []
        while true {
            let now = monotonicNanoseconds()
            switch signals.next() {
            case SIGINT: return .interrupted(SIGINT)
            case SIGTERM: return .interrupted(SIGTERM)
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
        var polled = [pollfd(fd: signals.descriptor, events: Int16(POLLIN), revents: 0)]
        var deadline = end
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
