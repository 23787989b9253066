import CSQLite
import Glibc
import System

/// A value of an SQL statement.
package enum SQLValue: Hashable {
    case integer(Int64)
    case text(String)
    case null
}

/// An error that SQLite reported.
package struct DatabaseError: Error, CustomStringConvertible {
    package let path: String
    package let code: Int32
    package let message: String
    /// What to do about the file.
    var remedy: String?

    package var description: String { "\(path): \(message)" }
}

extension DatabaseError {
    /// A failed system call on a file of the history, in other words than the kernel's if there are any.
    init(path: String, errno: Int32, message: String? = nil) {
        self.init(
            path: path, code: SQLITE_IOERR, message: message ?? String(cString: strerror(errno)),
            remedy: StateFolder.remedy(for: errno))
    }
}

/// A connection to one SQLite file, which is closed when this value is destroyed.
package struct Database: ~Copyable {
    private let handle: OpaquePointer
    private let path: String
    private let statements = Statements()
    /// Done once in a process, before its first connection.
    private static let configuration = csqlite_configure()

    /// - Parameter path: the file; it is created if it is missing, but its folder is not. A link is not followed.
    package init(path: String) throws(DatabaseError) {
        _ = Database.configuration
        if let fault = FileFault.kind(of: path) {
            throw DatabaseError(path: path, code: SQLITE_CANTOPEN, message: fault.words, remedy: fault.remedy)
        }
        var handle: OpaquePointer?
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX
        let code = sqlite3_open_v2(path, &handle, flags, nil)
        guard code == SQLITE_OK, let handle else {
            let message = handle.map { String(cString: sqlite3_errmsg($0)) } ?? "out of memory"
            let errno = handle.map { sqlite3_system_errno($0) } ?? ENOMEM
            sqlite3_close(handle)
            throw DatabaseError(path: path, code: code, message: message, remedy: StateFolder.remedy(for: errno))
        }
        // As the log that it is made of; SQLite gives its journal the same mode. To open the file for that and close it again would end
        // this process's locks on it (https://www.sqlite.org/howtocorrupt.html, 2.2).
        chmod(path, 0o600)
        self.handle = handle
        self.path = path
        sqlite3_busy_handler(
            handle,
            { _, attempts in
                guard let pause = Database.pause(afterAttempts: attempts) else { return 0 }
                sleepNanoseconds(pause)
                return 1
            }, nil)
    }

    /// The pause, in nanoseconds, before another attempt while another process has a transaction; nil after about two seconds.
    /// Most transactions are short. SQLite's own handler, which sleeps 1, 2, 5, 10 ms and more, waits far longer than they
    /// last.
    private static func pause(afterAttempts attempts: Int32) -> Int64? {
        switch attempts {
        case ..<40: 50_000
        case ..<2040: 1_000_000
        default: nil
        }
    }

    deinit {
        statements.finalize()
        sqlite3_close(handle)
    }

    /// Runs statements without parameters.
    package func execute(_ sql: String) throws(DatabaseError) {
        guard sqlite3_exec(handle, sql, nil, nil, nil) == SQLITE_OK else { throw failure() }
    }

    /// Runs one statement and returns its rows.
    @discardableResult
    package func run(_ sql: String, _ parameters: SQLValue...) throws(DatabaseError) -> [[SQLValue]] {
        try run(sql, parameters)
    }

    /// Runs one statement and returns its rows.
    @discardableResult
    package func run(_ sql: String, _ parameters: [SQLValue]) throws(DatabaseError) -> [[SQLValue]] {
        guard let statement = statements.statement(sql, of: handle) else { throw failure() }
        defer { sqlite3_reset(statement) }
        for (index, parameter) in parameters.enumerated() {
            let position = Int32(index + 1)
            let code =
                switch parameter {
                case .integer(let value): sqlite3_bind_int64(statement, position, value)
                case .text(let value):
                    // SQLITE_TRANSIENT, a cast that is not imported: SQLite copies the text.
                    sqlite3_bind_text(
                        statement, position, value, -1, unsafeBitCast(-1, to: sqlite3_destructor_type.self))
                case .null: sqlite3_bind_null(statement, position)
                }
            guard code == SQLITE_OK else { throw failure() }
        }
        var rows: [[SQLValue]] = []
        while true {
            switch sqlite3_step(statement) {
            case SQLITE_ROW: rows.append((0..<sqlite3_column_count(statement)).map { column(statement, $0) })
            case SQLITE_DONE: return rows
            default: throw failure()
            }
        }
    }

    /// Inserts rows of equal length with one statement: preparing a statement for each row takes longer than running it.
    package func insert(into table: String, _ rows: [[SQLValue]]) throws(DatabaseError) {
        guard let width = rows.first?.count, width > 0 else { return }
        let row = "(?" + String(repeating: ",?", count: width - 1) + ")"
        // SQLite accepts 32,766 parameters.
        let most = 32_000 / width
        for start in stride(from: 0, to: rows.count, by: most) {
            let part = rows[start..<min(start + most, rows.count)]
            let places = row + String(repeating: "," + row, count: part.count - 1)
            try run("INSERT INTO \(table) VALUES \(places)", part.flatMap { $0 })
        }
    }

    /// Whether a table exists: some are created when they are first needed.
    package func hasTable(_ name: String) throws(DatabaseError) -> Bool {
        try !run("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", .text(name)).isEmpty
    }

    /// The version of the tables, as who made them says; 0 if there are none.
    package func userVersion() throws(DatabaseError) -> Int64 {
        try run("PRAGMA user_version").first?.integer(0) ?? 0
    }

    /// The row id of the last insert.
    package var lastRow: Int64 { sqlite3_last_insert_rowid(handle) }

    /// Runs `body` in one transaction that holds the write lock from the start; an error undoes all of it.
    package func transaction<E: Error>(_ body: () throws(E) -> Void, mapping: (DatabaseError) -> E) throws(E) {
        do throws(DatabaseError) { try run("BEGIN IMMEDIATE") } catch { throw mapping(error) }
        do throws(E) {
            try body()
        } catch {
            _ = try? run("ROLLBACK")
            throw error
        }
        do throws(DatabaseError) {
            try run("COMMIT")
        } catch {
            _ = try? run("ROLLBACK")
            throw mapping(error)
        }
    }

    private func column(_ statement: OpaquePointer?, _ index: Int32) -> SQLValue {
        switch sqlite3_column_type(statement, index) {
        case SQLITE_INTEGER: .integer(sqlite3_column_int64(statement, index))
        case SQLITE_NULL: .null
        default: sqlite3_column_text(statement, index).map { .text(String(cString: $0)) } ?? .null
        }
    }

    private func failure() -> DatabaseError {
        let code = sqlite3_extended_errcode(handle)
        var cause = sqlite3_system_errno(handle)
        // What cannot be written was opened for reading, without an error.
        if code & 0xff == SQLITE_READONLY, access(path, W_OK) != 0 { cause = errno }
        return DatabaseError(
            path: path, code: code, message: String(cString: sqlite3_errmsg(handle)),
            remedy: StateFolder.remedy(for: cause))
    }
}

/// The prepared statements of a connection, kept for reuse: preparing one takes longer than running it.
private final class Statements {
    private var kept: [(sql: String, statement: OpaquePointer)] = []
    /// The most statements that are kept, because texts are compared one by one.
    private static let limit = 32

    /// A statement that is ready to be bound and run; nil if SQLite rejects the text.
    func statement(_ sql: String, of handle: OpaquePointer) -> OpaquePointer? {
        if let known = kept.first(where: { $0.sql == sql }) { return known.statement }
        var statement: OpaquePointer?
        guard sqlite3_prepare_v2(handle, sql, -1, &statement, nil) == SQLITE_OK, let statement else { return nil }
        if kept.count == Statements.limit { sqlite3_finalize(kept.removeFirst().statement) }
        kept.append((sql, statement))
        return statement
    }

    /// Finalizes all statements before their connection is closed.
    func finalize() {
        for (_, statement) in kept { sqlite3_finalize(statement) }
        kept = []
    }
}

extension [SQLValue] {
    package func integer(_ index: Int) -> Int64? {
        if index < count, case .integer(let value) = self[index] { value } else { nil }
    }

    package func text(_ index: Int) -> String? {
        if index < count, case .text(let value) = self[index] { value } else { nil }
    }
}
