import Glibc
public import JSON

/// A QEMU monitor that is to be heard for as long as its guest lives: connects, negotiates, asks how things stand, hands
/// over events, and begins again when the connection ends. For a loop around poll(2); nothing in it waits.
///
/// What a monitor said while nobody was connected is lost: so each connection begins with `query-status`,
/// `query-migrate` and `query-rx-filter`, whose answers are handed over before any event.
public struct QMPClient: ~Copyable {
    /// What the loop is told.
    public enum Happening: Hashable, Sendable {
        /// The monitor answers, and this is how things stand; events follow.
        case connected(QMPSituation)
        /// Something happened.
        case event(QMPEvent)
        /// A command of ``send(_:arguments:)`` was answered.
        case reply(id: Int64, Result<JSON, QMPRefusal>)
        /// The guest's filters, asked for again after NIC_RX_FILTER_CHANGED.
        case filters([RxFilter])
        /// The connection ended, or a first attempt failed; told once until it works again.
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

    private enum Question { case status, migration, filters, filtersAgain }

    /// How long a monitor may take to greet and to answer: more than a busy QEMU needs, less than anybody would wait.
    public static let patience: Int64 = 5_000_000_000
    /// Events kept back until the queries are answered; QEMU answers at once.
    private static let earlyLimit = 10_000

    /// - Parameters:
    ///   - path: of the monitor's socket.
    ///   - now: CLOCK_MONOTONIC in nanoseconds.
    public init(path: String, now: Int64) {
        self.path = path
        reconnection = Reconnection(now: now)
    }

    /// For poll(2), nil while there is no connection.
    public var descriptor: Int32? {
        switch connection {
        case .some(let connection): connection.descriptor
        case .none: nil
        }
    }

    /// What to poll for: POLLIN, and POLLOUT while commands wait.
    public var pollEvents: Int16 {
        switch connection {
        case .some(let connection) where connection.wantsWrite: Int16(POLLIN) | Int16(POLLOUT)
        default: Int16(POLLIN)
        }
    }

    /// The monitor has answered the queries of this connection.
    public var isConnected: Bool { isSettled }

    /// When ``advance(now:_:)`` wants to be called at the latest, on the clock of `now`; nil: when there is input.
    public var nextDeadline: Int64? { connection == nil ? reconnection.nextAttempt : deadline }

    /// Sends a command.
    ///
    /// - Returns: its id, for the reply; nil while there is no connection.
    public mutating func send(_ command: String, arguments: JSON? = nil) -> Int64? {
        guard isSettled, let id = try? connection?.send(command, arguments: arguments) else { return nil }
        ownCommands.insert(id)
        return id
    }

    /// Does what is due: connects, reads what has come, gives up on what is late.
    ///
    /// - Parameters:
    ///   - now: CLOCK_MONOTONIC in nanoseconds.
    ///   - handler: takes what happened, in order.
    public mutating func advance(now: Int64, _ handler: (Happening) -> Void) {
        do throws(QMPError) {
            if connection == nil {
                guard now >= reconnection.nextAttempt else { return }
                connection = try QMPConnection(path: path)
                deadline = now + QMPClient.patience
            }
            try connection?.flush()
            var messages: [QMPMessage] = []
            defer { for message in messages { take(message, now: now, handler) } }
            try connection?.receive { messages.append($0) }
            if questions.isEmpty, !isSettled, connection?.state == .ready {
                try ask("query-status", .status)
                try ask("query-migrate", .migration)
                try ask("query-rx-filter", .filters)
            }
            if let deadline, now >= deadline {
                throw QMPError(
                    .timeout,
                    "the monitor \(path) did not answer in \(QMPClient.patience / 1_000_000_000) s; "
                        + "it serves one client at a time")
            }
        } catch {
            end(error, now: now, handler)
        }
    }

    private mutating func ask(_ command: String, _ question: Question) throws(QMPError) {
        if let id = try connection?.send(command) { questions[id] = question }
    }

    private mutating func take(_ message: QMPMessage, now: Int64, _ handler: (Happening) -> Void) {
        switch message {
        case .greeting(let version):
            situation = QMPSituation(version: version)
        case .event(let event):
            guard isSettled else {
                if early.count < QMPClient.earlyLimit, !isAnswered(event) { early.append(event) }
                return
            }
            handler(.event(event))
            // QEMU is silent about further changes until it is asked.
            if event.name == .rxFilterChanged { try? ask("query-rx-filter", .filtersAgain) }
        case .reply(let id, let result):
            guard let id else { return }
            if ownCommands.remove(id) != nil { return handler(.reply(id: id, result)) }
            guard let question = questions.removeValue(forKey: id) else { return }
            take(result, of: question, now: now, handler)
        }
    }

    /// What an event tells will be part of an answer that is still to come: told after it, it would be old news.
    private func isAnswered(_ event: QMPEvent) -> Bool {
        switch event.name {
        case .stop, .resume: questions.isEmpty || questions.values.contains(.status)
        case .migration, .migrationPass, .unplugPrimary: questions.isEmpty || questions.values.contains(.migration)
        default: false
        }
    }

    private mutating func take(
        _ result: Result<JSON, QMPRefusal>, of question: Question, now: Int64, _ handler: (Happening) -> Void
    ) {
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
        hasToldOfEnd = false
        reconnection.succeeded()
        handler(.connected(situation))
        for event in early { take(.event(event), now: now, handler) }
        early = []
    }

    private mutating func end(_ error: QMPError, now: Int64, _ handler: (Happening) -> Void) {
        connection = nil
        deadline = nil
        questions = [:]
        ownCommands = []
        early = []
        isSettled = false
        reconnection.failed(at: now)
        if hasToldOfEnd { return }
        hasToldOfEnd = true
        handler(.disconnected(error))
    }
}

/// How things stand with a guest when a connection begins.
public struct QMPSituation: Hashable, Sendable {
    /// QEMU's version.
    public var version: String
    /// `running`, `paused`, `inmigrate`, `postmigrate`, ... (`RunState` in qapi/run-state.json); nil when QEMU did not tell.
    public var runState: String?
    /// The last migration's status.
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
    /// The guest has gone to another host.
    public var guestHasLeft: Bool { runState == "postmigrate" }
}
