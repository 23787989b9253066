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
        case timedOut
        /// By SIGINT or SIGTERM.
        case interrupted(Int32)
        /// None of the signals can come any more.
        case impossible([String])
    }

    let wait: SignalWait
    private var sources: [(signal: Signal, source: any SignalSource)] = []
    private let word: WordSource?
    /// SIGINT and SIGTERM, and SIGUSR1 where the caller's word is waited for: held back from here on.
    private let signals: SignalSet

    /// Opens what the signals need, so that nothing but time can fail afterwards.
    ///
    /// - Parameters:
    ///   - wait: what to wait for.
    ///   - guest: whose frames and ports are meant.
    ///   - socket: for names of interfaces.
    /// - Throws: ``ControllerError`` of code `precondition`.
    init(
        _ wait: SignalWait, guest: GuestInterface, using socket: inout CommandSocket
    ) throws(ControllerError) {
        self.wait = wait
        var words: WordSource?
        for signal in wait.signals {
            let source: any SignalSource
            switch signal {
            case .qmp(let path, let event, let value):
                source = try MonitorSource(socket: path, event: event, value: value)
            case .carrier(let port, let isUp):
                source = try CarrierSource(SignalWaiter.port(port, of: guest, using: &socket), isUp: isUp)
            case .busMaster(let device, let isOn):
                source = try BusMasterSource(device, isOn: isOn)
            case .frame(let port):
                source = try FrameSource(SignalWaiter.port(port, of: guest, using: &socket), guest: guest)
            case .command(let path):
                source = try CommandSource(path)
            case .word:
                words = words ?? WordSource()
                source = words ?? WordSource()
            }
            sources.append((signal, source))
        }
        let taken = [SIGINT, SIGTERM] + (words == nil ? [] : [SIGUSR1])
        signals = try ControllerError.system { () throws(SystemError) in try SignalSet(taken) }
        word = words
    }

    deinit { signals.release() }

    /// Waits.
    mutating func run() throws(ControllerError) -> Outcome {
        let start = monotonicNanoseconds()
        for (_, source) in sources { try source.begin() }
        var isFirst = true
        var reasons: [String] = []
        while true {
            let now = monotonicNanoseconds()
            switch signals.next() {
            case SIGUSR1: word?.wasCalled = true
            case .some(let signal): return .interrupted(signal)
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
            guard now - start < wait.timeout else { return .timedOut }
            poll(until: start + wait.timeout)
        }
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

    /// The port that a signal names.
    private static func port(
        _ name: String, of guest: GuestInterface, using socket: inout CommandSocket
    ) throws(ControllerError) -> PortIdentity {
        switch name {
        case "primary": return guest.primary
        case "standby": return guest.standby
        case "uplink":
            if let uplink = guest.uplink { return uplink }
        default: break
        }
        let found = try ControllerError.reading("interface \(name)") { () throws(NetlinkError) in
            try Links.read(named: [name], using: &socket)
        }
        guard let link = found.first ?? nil else {
            throw ControllerError(
                .precondition, "there is no interface \(name) to wait for",
                remedy: "name an interface, or primary, standby or uplink for the guest's")
        }
        return PortIdentity(link)
    }
}
