import FDB
import Glibc
import JSON
import Netlink
import Policy
import QMP
import Switchdev
import System

/// One thing that is waited for. Sources are looked at whenever poll(2) wakes: a look must be cheap.
protocol SignalSource: AnyObject {
    /// For poll(2); negative for none.
    var descriptor: Int32 { get }
    /// What to poll for.
    var pollEvents: Int16 { get }
    /// When to look at the latest, on CLOCK_MONOTONIC in nanoseconds; nil: when there is input.
    var deadline: Int64? { get }
    /// Process signals that it takes (signal(7)).
    var processSignals: [Int32] { get }
    /// Why it cannot be heard at present, if it cannot.
    var trouble: String? { get }
    /// Begins what has a beginning.
    func begin() throws(ControllerError)
    /// Takes a process signal that came, perhaps one of another source's.
    func hear(_ processSignal: Int32)
    /// Looks whether it has come.
    ///
    /// - Parameter isFirst: nothing was looked at before: what is so was so already.
    func look(now: Int64, isFirst: Bool) -> SignalVerdict
}

extension SignalSource {
    var pollEvents: Int16 { Int16(POLLIN) }
    var deadline: Int64? { nil }
    var processSignals: [Int32] { [] }
    var trouble: String? { nil }
    func begin() throws(ControllerError) {}
    func hear(_ processSignal: Int32) {}
}

extension Signal {
    /// Opens what tells that the signal came.
    ///
    /// - Parameters:
    ///   - guest: whose frames and ports are meant.
    ///   - ips: the IP addresses that its record has.
    ///   - socket: for names of interfaces.
    /// - Throws: ``ControllerError`` of code `precondition`.
    func source(
        of guest: GuestInterface, ips: [AnnouncementRequest.Owned], using socket: inout CommandSocket
    ) throws(ControllerError) -> any SignalSource {
        switch self {
        case .qmp(let path, let event, let value): try MonitorSource(socket: path, event: event, value: value)
        case .carrier(let port, let isUp):
            try CarrierSource(Signal.port(port, of: guest, using: &socket), isUp: isUp)
        case .busMaster(let device, let isOn): try BusMasterSource(device, isOn: isOn)
        case .frame(let port): try FrameSource(Signal.port(port, of: guest, using: &socket), guest: guest)
        case .answer(let port, let ip):
            try AnswerSource(port, Signal.owned(ip, by: guest, among: ips), of: guest, using: &socket)
        case .command(let path): try CommandSource(path)
        case .word: WordSource()
        }
    }

    /// The address at which a guest is asked: the one that the signal names, else the first that is recorded, IPv4 before IPv6.
    private static func owned(
        _ ip: IPAddress?, by guest: GuestInterface, among ips: [AnnouncementRequest.Owned]
    ) throws(ControllerError) -> AnnouncementRequest.Owned {
        if let ip { return ips.first { $0.ip == ip } ?? AnnouncementRequest.Owned(ip: ip) }
        guard let first = ips.first else {
            throw ControllerError(
                .precondition, "guest \(guest.id) cannot be asked: no IP address of it is known",
                remedy: "write answer:PORT=IP, or prepare it with --ip")
        }
        return first
    }

    /// The port that a signal names.
    private static func port(
        _ name: String, of guest: GuestInterface, using socket: inout CommandSocket
    ) throws(ControllerError) -> PortIdentity {
        if name == "uplink", let uplink = guest.uplink { return uplink }
        if let own = guest.own.first(where: { $0.side.rawValue == name }) { return own.port }
        let found = try ControllerError.reading("interface \(name)") { () throws(NetlinkError) in
            try Links.read(named: [name], using: &socket)
        }
        guard let link = found.first ?? nil else {
            throw ControllerError(
                .precondition, "there is no interface \(name) to wait for",
                remedy:
                    "name an interface, or \(guest.own.map(\.side.rawValue).joined(separator: ", ")) or uplink for the guest's"
            )
        }
        return PortIdentity(link)
    }
}

/// What a look showed.
enum SignalVerdict: Equatable {
    case notYet
    /// It came; in words.
    case came(String)
    /// It was so before the wait; in words.
    case wasSo(String)
    /// It cannot come any more; why.
    case never(String)
}

// MARK: - QEMU

final class MonitorSource: SignalSource {
    private var client: QMPClient
    private let event: QMPEvent.Name
    private let value: String?
    private var known: MigrationStatus?

    init(socket: String, event: String, value: String?) throws(ControllerError) {
        var information = stat()
        let isThere = stat(socket, &information) == 0
        guard isThere, information.st_mode & S_IFMT == S_IFSOCK else {
            throw ControllerError(
                .precondition,
                isThere
                    ? "\(socket) is no socket, so no monitor"
                    : "there is no monitor socket \(socket): \(String(cString: strerror(errno)))",
                remedy: "name the socket that QEMU was given by -qmp unix:PATH,server=on,wait=off")
        }
        client = QMPClient(path: socket, now: monotonicNanoseconds())
        self.event = QMPEvent.Name(rawValue: event)
        self.value = value
    }

    var descriptor: Int32 { client.descriptor ?? -1 }
    var pollEvents: Int16 { client.pollEvents }
    var deadline: Int64? { client.nextDeadline }
    var trouble: String? { client.failure?.message }

    func look(now: Int64, isFirst: Bool) -> SignalVerdict {
        var told: [QMPClient.Happening] = []
        client.advance(now: now) { told.append($0) }
        for happening in told {
            switch happening {
            case .event(let heard) where matches(heard): return .came("\(heard.name.rawValue) \(heard.data)")
            case .event(let heard): known = heard.migrationStatus ?? known
            case .connected(let situation):
                if let words = isSo(situation) { return known == nil ? .wasSo(words) : .came(words) }
                known = situation.migration
            default: break
            }
        }
        if let failure = client.failure, failure.isFinal { return .never(failure.message) }
        return .notYet
    }

    private func matches(_ heard: QMPEvent) -> Bool {
        guard heard.name == event else { return false }
        guard let value else { return true }
        return heard.data.members?.contains { $0.value.text == value } == true
    }

    /// What the monitor's answers say about the event, in words; nil when they do not say that it came.
    private func isSo(_ situation: QMPSituation) -> String? {
        switch event {
        case .stop where situation.runState != nil && !situation.isRunning:
            return "query-status: \(situation.runState ?? "")"
        case .resume where situation.isRunning: return "query-status: running"
        case .migration where situation.migration != .none:
            let status = situation.migration
            guard value == nil || status.rawValue == value || (value == "active" && status.isPastUnplug) else {
                return nil
            }
            // The end of an earlier migration stays the status: only one that was not known before is news.
            let isNews = known.map { $0 != status } ?? status.isUnderWay
            return isNews ? "query-migrate: \(status)" : nil
        default: return nil
        }
    }
}

// MARK: - Ports

final class CarrierSource: SignalSource {
    private let monitor: MonitorSocket
    private let port: PortIdentity
    private let isUp: Bool
    private var isStale = true

    init(_ port: PortIdentity, isUp: Bool) throws(ControllerError) {
        monitor = try ControllerError.reading("changes of interfaces") { () throws(NetlinkError) in
            try MonitorSocket(groups: [.link], receiveBuffer: 1 << 20)
        }
        self.port = port
        self.isUp = isUp
    }

    var descriptor: Int32 { monitor.descriptor }

    func look(now: Int64, isFirst: Bool) -> SignalVerdict {
        var verdict = SignalVerdict.notYet
        do throws(NetlinkError) {
            while try monitor.receive({ (header, payload) throws(NetlinkError) in
                guard header.type == .newLink || header.type == .deleteLink else { return }
                let link = try Link(decoding: payload)
                guard link.index == port.index, verdict == .notYet else { return }
                // Leaving a bridge is told as RTM_DELLINK too.
                if header.type == .deleteLink { isStale = true } else { verdict = judge(link, isFirst) }
            }) {}
        } catch {
            // Something was lost: the kernel knows.
            isStale = true
        }
        if verdict == .notYet, isStale {
            isStale = false
            guard var socket = try? CommandSocket(), let found = try? Links.read([port.index], using: &socket) else {
                isStale = true
                return .notYet
            }
            guard let link = found.first ?? nil else { return .never("\(port.name) is gone") }
            verdict = judge(link, isFirst)
        }
        return verdict
    }

    private func judge(_ link: Link, _ isFirst: Bool) -> SignalVerdict {
        guard link.hasCarrier == isUp else { return .notYet }
        let words = "\(port.name) \(isUp ? "has" : "has no") carrier"
        return isFirst ? .wasSo(words) : .came(words)
    }
}

final class FrameSource: SignalSource {
    private let frames: GuestFrames
    private let port: PortIdentity

    init(_ port: PortIdentity, guest: GuestInterface) throws(ControllerError) {
        frames = try ControllerError.reading("frames of \(port.name)") { () throws(NetlinkError) in
            try GuestFrames(from: guest.addresses.map(\.mac), port: port.index)
        }
        self.port = port
    }

    var descriptor: Int32 { frames.descriptor }

    func look(now: Int64, isFirst: Bool) -> SignalVerdict {
        if frames.take() { return .came("a frame of the guest by \(port.name)") }
        // The socket tells of the port's end (ENETDOWN), and of its pauses too.
        var name = [CChar](repeating: 0, count: Int(IF_NAMESIZE))
        return if_indextoname(UInt32(port.index), &name) == nil ? .never("\(port.name) is gone") : .notYet
    }
}

// MARK: - The VF

final class BusMasterSource: SignalSource {
    private let function: BusMastering
    private let device: String
    private let isOn: Bool
    private var next: Int64 = 0
    private static let interval: Int64 = 1_000_000

    init(_ device: String, isOn: Bool) throws(ControllerError) {
        guard let function = BusMastering(device) else {
            throw ControllerError(
                .precondition, "the configuration space of PCI device \(device) cannot be read",
                remedy: "name a VF of this host as lspci -D shows it, for example 0000:03:00.5")
        }
        self.function = function
        self.device = device
        self.isOn = isOn
    }

    var descriptor: Int32 { -1 }
    var deadline: Int64? { next }

    func look(now: Int64, isFirst: Bool) -> SignalVerdict {
        next = now + BusMasterSource.interval
        guard function.isOn == isOn else { return function.isGone ? .never("\(device) is gone") : .notYet }
        let words = "bus mastering of \(device) is \(isOn ? "on" : "off")"
        return isFirst ? .wasSo(words) : .came(words)
    }
}

// MARK: - Others

final class CommandSource: SignalSource {
    private let path: String
    private var process: pid_t = 0
    private(set) var descriptor: Int32 = -1

    init(_ path: String) throws(ControllerError) {
        guard access(path, X_OK) == 0 else {
            throw ControllerError(
                .precondition, "\(path) cannot be run: \(String(cString: strerror(errno)))",
                remedy: "name an executable file")
        }
        self.path = path
    }

    deinit { end() }

    func begin() throws(ControllerError) {
        do throws(SystemError) {
            (process, descriptor) = try ChildProcess.start(path)
        } catch {
            throw ControllerError(
                .precondition, "cannot run \(path)",
                cause: KernelRefusal(.other, errno: error.errno.name, description: error.description))
        }
    }

    func look(now: Int64, isFirst: Bool) -> SignalVerdict {
        guard process > 0 else { return .never("\(path) has ended") }
        guard ChildProcess.hasEnded(process) else { return .notYet }
        // What it has started ends with it.
        ChildProcess.killGroup(process)
        let code = ChildProcess.exitCode(of: process, isWaiting: true) ?? -1
        forget()
        return code == 0 ? .came("\(path) ended with 0") : .never("\(path) ended with \(code)")
    }

    private func end() {
        guard process > 0 else { return }
        ChildProcess.end(process)
        forget()
    }

    private func forget() {
        process = 0
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
    }
}

final class WordSource: SignalSource {
    private var hasInput = true
    private var wasCalled = false

    var descriptor: Int32 { hasInput ? STDIN_FILENO : -1 }
    var processSignals: [Int32] { [SIGUSR1] }

    func hear(_ processSignal: Int32) { if processSignal == SIGUSR1 { wasCalled = true } }

    func look(now: Int64, isFirst: Bool) -> SignalVerdict {
        if wasCalled { return .came("SIGUSR1") }
        guard hasInput else { return .notYet }
        var polled = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
        guard poll(&polled, 1, 0) > 0 else { return .notYet }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = read(STDIN_FILENO, &bytes, bytes.count)
        // Without an input there is SIGUSR1 still.
        if count <= 0 { hasInput = false }
        return bytes.prefix(max(0, count)).contains(0x0a) ? .came("a line on standard input") : .notYet
    }
}
