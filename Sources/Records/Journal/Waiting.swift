package import JSON
package import Policy
import System

/// The signals that a guest's redirection waits for.
package struct WaitView: Hashable, Sendable, Encodable {
    /// The signals as the caller named them; the first to arrive ends the wait.
    package let signals: [String]
    /// Where the guest is to go then.
    package let goal: Side
    /// The start of the wait, in nanoseconds since 1970.
    @JSON.Time package private(set) var since: Int64
    /// The time at which the wait ends without a signal, in nanoseconds since 1970.
    @JSON.Time package private(set) var until: Int64
    /// The process that waits.
    package let holder: Holder?

    /// The process in words.
    package var process: String { holder.map { "process \($0.pid) (\($0.by))" } ?? "a process" }
}

/// A redirection that waits for a signal, until the value ends. Who waits does not hold the guest: others redirect and repair it
/// meanwhile.
package struct Waiting: ~Copyable {
    private let name: String
    private let folder: RecordFolder
    private let lock: GuestLock

    static func lock(_ name: String) -> String { ".wait-\(name)" }
    static func file(_ name: String) -> String { "waits/\(name).json" }

    /// - Throws: ``ControllerError`` of code `busy` when another process waits for the guest.
    package init(
        _ wait: SignalWait, for id: GuestID, goal: Side, now: Int64, in journal: Journal
    ) throws(ControllerError) {
        // Who sweeps holds it for a moment (``Journal/sweepMarks()``).
        guard
            let lock = try GuestLock(Waiting.lock(id.text), in: journal.folder, patience: Journal.lockPatience)
        else {
            throw ControllerError(
                .busy, "another redirection of guest \(id) waits for a signal already",
                remedy: "\"fdbsteer status \(id)\" shows it")
        }
        let view = JSON.object([
            .init("signals", .array(wait.signals.map { .string($0.description) })),
            .init("goal", .string(goal.rawValue)), .init("since_ns", .integer(now)),
            .init("until_ns", .integer(now + wait.timeout)),
        ])
        try journal.folder.replace(
            Waiting.file(id.text), by: view.file, through: "waits/.\(id).new")
        name = id.text
        folder = journal.folder
        self.lock = lock
    }

    /// Nobody has ended the wait (``Journal/endWait(of:)``).
    package var isWanted: Bool { folder.exists(Waiting.file(name)) }

    deinit {
        try? folder.remove(Waiting.file(name))
        // Who waits for the lock takes one of a new file.
        try? folder.remove("locks/\(Waiting.lock(name))")
    }
}

extension Journal {
    /// The guests whose redirection waits for a signal.
    package var waiting: Set<String> {
        let names = (try? folder.records(in: Subfolder.waits.rawValue)) ?? []
        return Set(names.filter { isLocked(Waiting.lock($0)) })
    }

    /// What a redirection of a guest waits for; nil when none does.
    package func wait(of name: String) -> WaitView? {
        guard isLocked(Waiting.lock(name)), let bytes = (try? folder.read(Waiting.file(name))) ?? nil,
            let wait = bytes.withUnsafeBytes({ JSON($0) }), let signals = wait["signals"]?.elements,
            let goal = wait["goal"]?.text.flatMap(Side.init), let since = wait["since_ns"]?.integer,
            let until = wait["until_ns"]?.integer
        else { return nil }
        return WaitView(
            signals: signals.compactMap(\.text), goal: goal, since: since, until: until,
            holder: holder(of: Waiting.lock(name)))
    }
}

extension Journal {
    /// Ends the wait for a guest's signal by removing its file, and waits until who waits has noticed: whether an open bracket stays is
    /// as it was told.
    ///
    /// - Returns: what was waited for; nil when nobody waited.
    /// - Throws: ``ControllerError`` of code `busy` when it cannot be ended.
    package func endWait(of name: String) throws(ControllerError) -> WaitView? {
        guard let wait = wait(of: name), let holder = wait.holder else { return nil }
        let waits = { [self] in isLocked(Waiting.lock(name)) && self.holder(of: Waiting.lock(name)) == holder }
        try folder.remove(Waiting.file(name))
        // It ends what it does, which may be the closing of a bracket.
        for _ in 0..<500 where waits() { sleepNanoseconds(10_000_000) }
        guard !waits() else {
            throw ControllerError(
                .busy,
                "process \(holder.pid) (\(holder.by)) waits for a signal of guest \(name) and does not end",
                remedy: "end it, then abort again")
        }
        return wait
    }
}
