import JSON
package import Policy

/// A condition in the file of the daemon, `conditions.json` (docs/records.md).
package struct ConditionRecord: Hashable, Sendable {
    /// The guest.
    package let guest: String
    /// Which guest of that name: ``GuestRecord/row``, or ``absent``.
    package let row: Int64
    /// The row of a guest that has no record: the configuration names it, and it is not prepared.
    package static let absent: Int64 = 0
    /// The condition.
    package let condition: Condition
    /// When it was first found, in nanoseconds since 1970.
    package let since: Int64
    /// Who finds it; nil where an earlier version has not said.
    package let source: Condition.Source?

    /// Makes it of what a daemon knows.
    package init(guest: String, row: Int64, _ entry: Conditions.Entry) {
        self.guest = guest
        self.row = row
        condition = entry.condition
        since = entry.since
        source = entry.source
    }

    /// - Returns: nil when a member is missing or of another kind.
    fileprivate init?(_ json: JSON) {
        guard let guest = json["guest"]?.text, let row = json["row"]?.integer, let code = json["code"]?.text,
            let severity = json["severity"]?.text.flatMap(Condition.Severity.init),
            let since = json["since_ns"]?.integer,
            let subject = json["subject"]?.text, let message = json["message"]?.text, let remedy = json["remedy"]?.text
        else { return nil }
        self.guest = guest
        self.row = row
        self.since = since
        // Of a guest without a record one source tells.
        source =
            json["source"]?.text.flatMap(Condition.Source.init)
            ?? (row == ConditionRecord.absent ? .configuration : nil)
        condition = Condition(code, severity, subject, message, remedy: remedy)
    }

    fileprivate var json: JSON {
        .object([
            .init("guest", .string(guest)), .init("row", .integer(row)), .init("code", .string(condition.code)),
            .init("severity", .string(condition.severity.rawValue)), .init("subject", .string(condition.subject)),
            .init("message", .string(condition.message)), .init("remedy", .string(condition.remedy)),
            .init("since_ns", .integer(since)), .init("source", .string(source?.rawValue ?? "")),
        ])
    }
}

/// What the daemon of a folder knows of its guests.
package struct DaemonKnowledge: Sendable {
    /// The daemon.
    package let process: Holder?
    /// What is wrong with guests.
    package var conditions: [ConditionRecord] = []
    /// The guests that it redirects by QEMU's events.
    package var followed: Set<String> = []
    /// Why what it has found cannot be read, so that nothing is known but that it runs; nil where it is read.
    package var fault: ControllerError?
}

/// Whether the daemon of a folder runs.
package enum DaemonState: String, Sendable, Encodable, CaseIterable {
    case running
    /// One has run since this host was booted, and none does now.
    case ended
    /// None has run since then.
    case absent
}

/// The lock of the one daemon of a folder. It ends with the value.
package struct DaemonLock: ~Copyable {
    fileprivate let lock: GuestLock

    fileprivate init(_ lock: consuming GuestLock) { self.lock = lock }
}

extension Journal {
    /// Not in the folder of locks: an open file keeps its folder alive, and nobody would hear that that one was removed.
    static let daemonLock = "daemon.lock"
    static let conditionsFile = "conditions.json"

    /// Takes the lock of the daemon.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when another daemon has it.
    package func lockDaemon() throws(ControllerError) -> DaemonLock {
        guard let lock = try GuestLock(path: Journal.daemonLock, in: folder, patience: 0) else {
            let other = holder(path: Journal.daemonLock).map { " (process \($0.pid))" } ?? ""
            throw ControllerError(
                .precondition, "another daemon\(other) keeps the guests of \(folder.path)",
                remedy: "end it first, or give this one another folder by --state")
        }
        return DaemonLock(lock)
    }

    /// Whether the lock's file still has its name: once it has not, another daemon can lock a new one.
    package func isKept(_ lock: borrowing DaemonLock) -> Bool {
        folder.identity(of: Journal.daemonLock)?.inode == lock.lock.inode
    }

    /// Puts the conditions of all guests in the place of those that the file had. The daemon alone writes it.
    ///
    /// - Parameter followed: the guests that are redirected by QEMU's events.
    /// - Returns: what tells the file from one that somebody else has changed or put there.
    @discardableResult
    package func write(
        _ conditions: [ConditionRecord], followed: [String]
    ) throws(ControllerError) -> FileIdentity? {
        var bytes: [UInt8] = []
        JSON.object([
            .init("version", .integer(1)), .init("boot", .string(boot)),
            .init("conditions", .array(conditions.map(\.json))),
            .init("followed", .array(followed.map { .string($0) })),
        ]).write(to: &bytes)
        bytes.append(UInt8(ascii: "\n"))
        try folder.replace(Journal.conditionsFile, by: bytes, through: ".conditions")
        return conditionsIdentity
    }

    /// What has the name of the file of conditions; nil for nothing.
    package var conditionsIdentity: FileIdentity? { folder.identity(of: Journal.conditionsFile) }

    /// The file of conditions as a daemon of this boot has written it last.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` that names it where there is none, or one that is broken.
    private func readConditions() throws(ControllerError) -> (all: [ConditionRecord], followed: Set<String>) {
        let bytes = try folder.read(Journal.conditionsFile)
        let file = bytes?.withUnsafeBytes { JSON($0) }
        let version = file?["version"]?.integer
        let reason: String
        if bytes == nil {
            reason = "it is missing"
        } else if version == nil {
            reason = "it is broken"
        } else if version != 1 {
            reason = "its version is another one"
        } else if file?["boot"]?.text != boot {
            reason = "it is of an earlier boot"
        } else if let elements = file?["conditions"]?.elements, let followed = file?["followed"]?.elements {
            let all = elements.compactMap(ConditionRecord.init)
            if all.count == elements.count { return (all, Set(followed.compactMap(\.text))) }
            reason = "it has a condition that cannot be read"
        } else {
            reason = "it is broken"
        }
        throw folder.unreadable(
            Journal.conditionsFile, reason,
            remedy: "fdbsteerd writes it anew when it has changed; where it does not: systemctl restart fdbsteerd")
    }

    /// The conditions that a daemon of this boot has written last; nil for none.
    package var lastConditions: [ConditionRecord]? { try? readConditions().all }

    /// Whether the daemon of this folder runs.
    package var daemonState: DaemonState {
        isLocked(path: Journal.daemonLock) ? .running : lastConditions == nil ? .absent : .ended
    }

    /// The daemon of this folder and what it knows; nil when none runs, so that nobody knows.
    package var daemon: DaemonKnowledge? {
        guard isLocked(path: Journal.daemonLock) else { return nil }
        var daemon = DaemonKnowledge(process: holder(path: Journal.daemonLock))
        do throws(ControllerError) {
            (daemon.conditions, daemon.followed) = try readConditions()
        } catch {
            daemon.fault = ControllerError(
                error.code, "what fdbsteerd has found is not known: \(error.message)", remedy: error.remedy)
        }
        return daemon
    }
}
