public import FDB
public import JSON
import Switchdev

/// An event that a redirection can wait for: evidence of what a guest did, or a word from the caller.
public enum Signal: Hashable, Sendable, CustomStringConvertible {
    /// An event of QEMU's monitor; `value` is a status, device or other text in its data.
    case qmp(socket: String, event: String, value: String?)
    /// The carrier of a port; `primary`, `standby` and `uplink` name the guest's ports.
    case carrier(port: String, isUp: Bool)
    /// PCI bus mastering of a VF: its driver has started, or is gone.
    case busMaster(device: String, isOn: Bool)
    /// A frame from the guest through a port; announcements by the hypervisor do not count.
    case frame(port: String)
    /// The guest answers a question that was put by a port of its own (docs/asking.md); nil: at an address that is recorded.
    case answer(port: String, ip: IPAddress?)
    /// A program exits with code 0.
    case command(path: String)
    /// A line on standard input, or SIGUSR1.
    case word

    /// The forms that ``init(_:)`` parses.
    public static let forms =
        "qmp:SOCKET:EVENT[=VALUE], carrier:PORT=up|down, bus-master:PCI=on|off, frame:PORT, answer:PORT[=IP], command:PATH or word"
    /// What the forms do not say by themselves.
    public static let explanation =
        "PORT is an interface, or primary, standby or uplink; word is a line on standard input, or SIGUSR1."

    /// Parses a signal as given on the command line (``forms``).
    ///
    /// - Throws: ``ControllerError`` of code `usage`.
    public init(_ text: String) throws(ControllerError) {
        func wrong(_ reason: String) -> ControllerError {
            ControllerError(.usage, "signal \"\(text)\" \(reason)", remedy: "write \(Signal.forms)")
        }
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let rest = parts.count > 1 ? String(parts[1]) : ""
        switch (parts.first ?? "", rest.isEmpty) {
        case ("word", true) where parts.count == 1:
            self = .word
        case (_, true):
            throw wrong("names nothing to wait for")
        case ("qmp", false):
            // The path may contain colons; an event's name does not.
            guard let colon = rest.lastIndex(of: ":"), colon > rest.startIndex else { throw wrong("names no event") }
            let event = rest[rest.index(after: colon)...].split(separator: "=", maxSplits: 1)
            guard let name = event.first, name.utf8.allSatisfy({ (0x41...0x5a).contains($0) || $0 == 0x5f }) else {
                throw wrong("names no event of QEMU")
            }
            self = .qmp(
                socket: String(rest[..<colon]), event: String(name), value: event.count > 1 ? String(event[1]) : nil)
        case ("carrier", false):
            guard let (port, word) = Signal.assignment(rest), word == "up" || word == "down" else {
                throw wrong("does not say up or down")
            }
            self = .carrier(port: port, isUp: word == "up")
        case ("bus-master", false):
            guard let (device, word) = Signal.assignment(rest), word == "on" || word == "off" else {
                throw wrong("does not say on or off")
            }
            self = .busMaster(device: device, isOn: word == "on")
        case ("frame", false):
            self = .frame(port: rest)
        case ("answer", false):
            guard let (port, text) = Signal.assignment(rest) else {
                self = .answer(port: rest, ip: nil)
                break
            }
            guard let ip = IPAddress(String(text)), ip.isOfAnInterface else {
                throw wrong("ends with no IP address of an interface")
            }
            self = .answer(port: port, ip: ip)
        case ("command", false):
            self = .command(path: rest)
        default:
            throw wrong("is none")
        }
    }

    private static func assignment(_ text: String) -> (name: String, word: Substring)? {
        guard let sign = text.lastIndex(of: "="), sign > text.startIndex else { return nil }
        return (String(text[..<sign]), text[text.index(after: sign)...])
    }

    /// The form that ``init(_:)`` parses.
    public var description: String {
        switch self {
        case .qmp(let socket, let event, let value): "qmp:\(socket):\(event)\(value.map { "=\($0)" } ?? "")"
        case .carrier(let port, let isUp): "carrier:\(port)=\(isUp ? "up" : "down")"
        case .busMaster(let device, let isOn): "bus-master:\(device)=\(isOn ? "on" : "off")"
        case .frame(let port): "frame:\(port)"
        case .answer(let port, let ip): "answer:\(port)\(ip.map { "=\($0)" } ?? "")"
        case .command(let path): "command:\(path)"
        case .word: "word"
        }
    }
}

/// The signals that a redirection waits for, and the time limit.
public struct SignalWait: Hashable, Sendable {
    /// The first of these signals ends the wait.
    public let signals: [Signal]
    /// The time limit in nanoseconds.
    public let timeout: Int64
    /// Of who names none.
    package static let defaultTimeout: Int64 = 10_000_000_000

    /// - Parameters:
    ///   - signals: at least one; the first to arrive ends the wait.
    ///   - timeout: the time limit in nanoseconds.
    public init(signals: [Signal], timeout: Int64) {
        self.signals = signals
        self.timeout = timeout
    }

    /// The signals in words: `a or b`.
    public var words: String { signals.map(\.description).joined(separator: " or ") }
}

/// A signal that arrived.
public struct SignalSighting: Hashable, Sendable, Encodable {
    /// The signal as the caller named it.
    public let signal: String
    /// What was observed.
    public let seen: String
    /// The condition was already true when the wait began.
    public let wasAlready: Bool
    /// The time of the observation, in nanoseconds of CLOCK_MONOTONIC.
    public let monotonicNanoseconds: Int64
    /// The time of the observation, in nanoseconds since 1970 (CLOCK_REALTIME).
    @JSON.Time public private(set) var seenAt: Int64
    /// The duration of the wait, in nanoseconds.
    public let waitedNanoseconds: Int64

    /// Makes a sighting from its fields.
    package init(
        signal: String, seen: String, wasAlready: Bool, monotonicNanoseconds: Int64, seenAt: Int64,
        waitedNanoseconds: Int64
    ) {
        self.signal = signal
        self.seen = seen
        self.wasAlready = wasAlready
        self.monotonicNanoseconds = monotonicNanoseconds
        self.seenAt = seenAt
        self.waitedNanoseconds = waitedNanoseconds
    }
}
