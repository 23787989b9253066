import Glibc
public import JSON

/// A client that listens to a QEMU monitor for as long as its guest lives. It connects, negotiates, queries the state of the
/// guest, passes on events, and reconnects when the connection ends. It is made for a loop around poll(2) and never blocks.
///
/// Events are lost while the client is not connected. Each connection therefore begins with `query-status`, `query-migrate`
/// and `query-rx-filter`, whose answers are passed on before any event.
public struct QMPClient: ~Copyable {
    /// What the client reports to the loop.
    public enum Happening: Hashable, Sendable {
        /// The monitor answers; this is the state of the guest. Events follow.
        case connected(QMPSituation)
        /// An event of the monitor.
        case event(QMPEvent)
        /// The answer to a command of ``send(_:arguments:)``.
        case reply(id: Int64, Result<JSON, QMPRefusal>)
        /// The answer to ``askForFilters()``.
        case filters([RxFilter])
        /// The connection ended, or a first attempt failed. It is reported once until the connection works again.
        case disconnected(QMPError)
    }

    /// The socket's path.
    public let path: String
    private var connection: QMPConnection?
    private var reconnection: Reconnection
    private var deadline: Int64?
    private var questions: [Int64: Question] = [:]
    private var situation = QMPSituation()
    private var early: [QMPEvent] = []
    private var isSettled = false
    private var hasToldOfEnd = false
    private var ownCommands: Set<Int64> = []
    private var connectedAt: Int64 = 0
    /// Why nothing is heard; nil while the monitor answers, and before it could.
    public private(set) var failure: QMPError?

    private enum Question { case status, migration, filters, filtersAgain }

    /// How long a monitor may take to greet and to answer, in nanoseconds: a busy QEMU needs less, and a user would not wait
    /// longer.
    public static let patience: Int64 = 5_000_000_000
    /// A monitor that has not greeted for so long serves another client, in nanoseconds; QEMU greets at once.
    private static let greetingPatience: Int64 = 500_000_000
    /// The most events that are held back until the queries are answered; QEMU answers at once.
    private static let earlyLimit = 1000

    /// - Parameters:
    ///   - path: the path of the monitor's socket.
    ///   - now: CLOCK_MONOTONIC in nanoseconds.
    public init(path: String, now: Int64) {
        self.path = path
        reconnection = Reconnection(now: now)
    }

    /// For poll(2); nil while there is no connection.
    public var descriptor: Int32? {
        switch connection {
        case .some(let connection): connection.descriptor
        case .none: nil
        }
    }

    /// The events to poll for: POLLIN, and POLLOUT while commands wait.
    public var pollEvents: Int16 {
        switch connection {
        case .some(let connection) where connection.wantsWrite: Int16(POLLIN) | Int16(POLLOUT)
        default: Int16(POLLIN)
        }
    }

    /// True once the monitor has answered the queries of this connection.
    public var isConnected: Bool { isSettled }

    /// When ``advance(now:_:)`` must be called at the latest, on the clock of `now`; nil: when there is input.
    public var nextDeadline: Int64? {
        switch connection {
        case .none: reconnection.nextAttempt
        case .some(let connection) where connection.state == .connected && failure?.code != .busy:
            connectedAt + QMPClient.greetingPatience
        case .some: deadline
        }
    }

    /// Sends a command.
    ///
    /// - Returns: the id that the reply will have; nil while there is no connection.
    public mutating func send(_ command: String, arguments: JSON? = nil) -> Int64? {
        guard isSettled, let id = try? connection?.send(command, arguments: arguments) else { return nil }
        ownCommands.insert(id)
        return id
    }

    /// Asks again how things stand: ``Happening/connected(_:)`` follows, and no event before it. Without effect while there is no
    /// connection, or the answers to these questions are awaited anyway.
    public mutating func askAgain(now: Int64) {
        guard isSettled else { return }
        isSettled = false
        situation = QMPSituation(version: situation.version)
        deadline = now + QMPClient.patience
        // What fails here is told by the next turn.
        try? askHowThingsStand()
    }

    /// Asks for the guest's filters: QEMU tells of a change once, and not again before it was asked.
    public mutating func askForFilters() {
        if isSettled, !questions.values.contains(.filtersAgain) { try? ask("query-rx-filter", .filtersAgain) }
    }

    private mutating func askHowThingsStand() throws(QMPError) {
        try ask("query-status", .status)
        try ask("query-migrate", .migration)
        try ask("query-rx-filter", .filters)
    }

    /// Does everything that is due: connects, reads input, and gives up on answers that are late.
    ///
    /// - Parameters:
    ///   - now: CLOCK_MONOTONIC in nanoseconds.
    ///   - handler: receives what happened, in order.
    public mutating func advance(now: Int64, _ handler: (Happening) -> Void) {
        do throws(QMPError) {
            if connection == nil {
                guard now >= reconnection.nextAttempt else { return }
                connection = try QMPConnection(path: path)
                connectedAt = now
                deadline = now + QMPClient.patience
            }
            try connection?.flush()
            var messages: [QMPMessage] = []
            do throws(QMPError) {
                try connection?.receive { messages.append($0) }
            } catch {
                for message in messages { try take(message, now: now, handler) }
                throw error
            }
            for message in messages { try take(message, now: now, handler) }
            if questions.isEmpty, !isSettled, connection?.state == .ready {
                try askHowThingsStand()
            }
            let hasGreeted = connection?.state != .connected
            if !hasGreeted, now - connectedAt >= QMPClient.greetingPatience { failure = busy }
            if let deadline, now >= deadline {
                throw hasGreeted
                    ? QMPError(
                        .timeout, "the monitor \(path) did not answer in \(QMPClient.patience / 1_000_000_000) s")
                    : busy
            }
        } catch {
            end(error, now: now, handler)
        }
    }

    private var busy: QMPError {
        QMPError(
            .busy,
            "the monitor \(path) does not greet: it serves one client at a time, and another has it, such as fdbsteerd, libvirt "
                + "or another wait")
    }

    private mutating func ask(_ command: String, _ question: Question) throws(QMPError) {
        if let id = try connection?.send(command) { questions[id] = question }
    }

    private mutating func take(
        _ message: QMPMessage, now: Int64, _ handler: (Happening) -> Void
    ) throws(QMPError) {
        switch message {
        case .greeting(let version):
            situation = QMPSituation(version: version)
        case .event(let event):
            guard isSettled else {
                if early.count < QMPClient.earlyLimit, !isAnswered(event) { early.append(event) }
                return
            }
            handler(.event(event))
        case .reply(let id, let result):
            guard let id else { return }
            if ownCommands.remove(id) != nil { return handler(.reply(id: id, result)) }
            guard let question = questions.removeValue(forKey: id) else { return }
            try take(result, of: question, now: now, handler)
        }
    }

    /// Whether a pending answer will contain what an event reports. Passed on after that answer, the event would be stale.
    private func isAnswered(_ event: QMPEvent) -> Bool {
        switch event.name {
        case .stop, .resume: questions.isEmpty || questions.values.contains(.status)
        case .migration, .migrationPass, .unplugPrimary: questions.isEmpty || questions.values.contains(.migration)
        default: false
        }
    }

    private mutating func take(
        _ result: Result<JSON, QMPRefusal>, of question: Question, now: Int64, _ handler: (Happening) -> Void
    ) throws(QMPError) {
        let content = try? result.get()
        switch question {
        case .status: situation.runState = content?["status"]?.text
        case .migration: situation.migration = content?["status"]?.text.map(MigrationStatus.init(rawValue:)) ?? .none
        case .filters: situation.filters = content?.elements?.compactMap(RxFilter.init) ?? []
        case .filtersAgain: return handler(.filters(content?.elements?.compactMap(RxFilter.init) ?? []))
        }
        guard questions.isEmpty, !isSettled else { return }
        isSettled = true
        deadline = nil
        failure = nil
        hasToldOfEnd = false
        reconnection.succeeded()
        handler(.connected(situation))
        for event in early { try take(.event(event), now: now, handler) }
        early = []
    }

    private mutating func end(_ error: QMPError, now: Int64, _ handler: (Happening) -> Void) {
        connection = nil
        deadline = nil
        questions = [:]
        ownCommands = []
        early = []
        isSettled = false
        failure = error
        reconnection.failed(at: now)
        if hasToldOfEnd { return }
        hasToldOfEnd = true
        handler(.disconnected(error))
    }
}

/// The state of a guest when a connection begins.
public struct QMPSituation: Hashable, Sendable {
    /// QEMU's version.
    public var version: String
    /// `running`, `paused`, `inmigrate`, `postmigrate`, ... (`RunState` in qapi/run-state.json); nil if QEMU did not report it.
    public var runState: String?
    /// The status of the last migration.
    public var migration: MigrationStatus
    /// The guest's filters on its virtio NICs.
    public var filters: [RxFilter]

    /// Makes a situation from its parts.
    public init(
        version: String = "", runState: String? = nil, migration: MigrationStatus = .none, filters: [RxFilter] = []
    ) {
        self.version = version
        self.runState = runState
        self.migration = migration
        self.filters = filters
    }

    /// The virtual CPUs run.
    public var isRunning: Bool { runState == "running" }
    /// This QEMU waits for a guest from another host.
    public var awaitsGuest: Bool { runState == "inmigrate" }
    /// The guest has gone to another host. `finish-migrate` is the source's state while it copies the rest: in post-copy the guest runs
    /// on the target then.
    public var guestHasLeft: Bool {
        runState == "postmigrate" || (runState == "finish-migrate" && migration.isPostcopy)
    }
}
