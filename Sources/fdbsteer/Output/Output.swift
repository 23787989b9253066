import Glibc
import JSON
import Synchronization
import System

/// Standard output and standard error.
enum Output {
    static func line(_ text: String) { Output.text(text + "\n") }

    /// A reader of standard error that has gone away is nobody's error.
    static func error(_ text: String) { _ = write(Array((text + "\n").utf8), to: STDERR_FILENO) }

    /// Why something could not be written to standard output; nil when everything was.
    static var failure: String? {
        let reason = firstError.load(ordering: .relaxed)
        return reason == 0 ? nil : String(cString: strerror(reason))
    }

    private static let firstError = Atomic<Int32>(0)

    /// A descriptor that has input when a view that goes on is to end; -1 for none. A reader that stopped must not keep it from its end.
    static var interruption: Int32 {
        get { interrupter.load(ordering: .relaxed) }
        set { interrupter.store(newValue, ordering: .relaxed) }
    }

    private static let interrupter = Atomic<Int32>(-1)
    /// What a pipe that is writable takes without a wait: PIPE_BUF of limits.h.
    private static let pipeful = 4096

    /// The version of what docs/json.md says. It grows when a key is renamed, leaves or changes its meaning, not when one is added.
    private static let schema = JSON.Member("schema", .integer(1))

    /// Prints one object: snake_case keys in alphabetical order, but for `schema`, which is the first.
    ///
    /// - Parameter isLine: one of many: it stands on a line of its own.
    static func json(_ value: some Encodable, isLine: Bool = false) {
        do {
            let object = versioned(try JSON(encoding: value))
            line(isLine ? object.description : object.pretty)
        } catch {
            Output.error("fdbsteer: cannot encode JSON: \(error)")
        }
    }

    /// An object with its `schema`.
    static func versioned(_ object: JSON) -> JSON { .object([schema] + (object.members ?? [])) }

    /// Prints rows of cells, aligned by column, with two spaces between columns.
    static func table(_ rows: [[String]]) { aligned(rows).forEach(line) }

    /// The lines of rows of cells.
    static func aligned(_ rows: [[String]]) -> [String] {
        var widths: [Int] = []
        for row in rows {
            for (column, cell) in row.enumerated() {
                if column == widths.count { widths.append(0) }
                widths[column] = max(widths[column], cell.count)
            }
        }
        return rows.map { row in
            row.enumerated().map { column, cell in
                column == row.count - 1 ? cell : cell + String(repeating: " ", count: widths[column] - cell.count)
            }.joined(separator: "  ")
        }
    }

    /// The time since a moment, in whole units.
    ///
    /// - Parameter moment: in nanoseconds since 1970.
    static func age(since moment: Int64) -> String {
        let age = max(0, Stopwatch.realTime - moment)
        let units: [Int64] = [3_600_000_000_000, 60_000_000_000, 1_000_000_000]
        // Two hours are told in hours, less than that in minutes.
        let unit = units.first { age >= 2 * $0 } ?? 1_000_000
        return DurationText.text(age - age % unit)
    }

    /// Prints a text that already has its line ends.
    static func text(_ text: String) { bytes(Array(text.utf8)) }

    /// The same of bytes.
    static func bytes(_ bytes: [UInt8]) {
        // After the first failure nothing more is tried: a part that is missing would not be seen.
        guard firstError.load(ordering: .relaxed) == 0, !write(bytes, to: STDOUT_FILENO) else { return }
        firstError.store(errno, ordering: .relaxed)
    }

    /// - Returns: false if not everything could be written; `errno` has the reason.
    static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        var rest = bytes[...]
        let isView = interruption >= 0
        while !rest.isEmpty {
            if isView, !waitForRoom(descriptor) {
                errno = EINTR
                return false
            }
            let most = isView ? min(rest.count, pipeful) : rest.count
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, most) }
            if count < 0 {
                if errno == EINTR { continue }
                return false
            }
            rest = rest.dropFirst(count)
        }
        return true
    }

    /// - Returns: false when the view is to end before there is room.
    private static func waitForRoom(_ descriptor: Int32) -> Bool {
        var polled = [
            pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0),
            pollfd(fd: interruption, events: Int16(POLLIN), revents: 0),
        ]
        while poll(&polled, 2, -1) < 0, errno == EINTR {}
        return polled[0].revents != 0
    }

    /// A duration in nanoseconds, formatted for people: `12.3 us`, `4.56 ms`.
    static func duration(_ nanoseconds: Int64) -> String {
        func tenths(_ value: Int64, _ unit: Int64) -> String {
            let scaled = (value * 10 + unit / 2) / unit
            return "\(scaled / 10).\(scaled % 10)"
        }
        if nanoseconds < 1_000_000 { return tenths(nanoseconds, 1000) + " us" }
        if nanoseconds < 1_000_000_000 { return tenths(nanoseconds, 1_000_000) + " ms" }
        return tenths(nanoseconds, 1_000_000_000) + " s"
    }
}
