import Glibc
import JSON
import Logging
import Synchronization
import System

/// Writes one line an event to standard error: time, level, event, and the rest in the order of their keys, as logfmt
/// (`key=value`, values in quotes where they have to be) or as a JSON object.
///
/// Under systemd (JOURNAL_STREAM is set) the line begins with the level as `<N>` (sd-daemon(3)), by which the journal selects, and has no
/// time, which the journal notes itself.
struct LineLog: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level
    private let form: Form

    /// How lines are written.
    private struct Form: Sendable {
        let isJournal = Environment.value("JOURNAL_STREAM") != nil
        let isJSON: Bool

        /// A line.
        func line(_ level: Logger.Level, _ event: String, _ pairs: [(key: String, value: String)]) -> String {
            let all =
                (isJournal ? [] : [("time", Timestamp.text(Stopwatch.realTime))]) + [
                    ("level", "\(level)"), ("msg", event),
                ]
                + pairs.map { ($0.key, $0.value) }
            let prefix = isJournal ? "<\(LineLog.priority(level))>" : ""
            if isJSON {
                return prefix + JSON.object(all.map { JSON.Member($0.0, .string($0.1)) }).description
            }
            return prefix + all.map { "\($0.0)=\(LineLog.quoted($0.1))" }.joined(separator: " ")
        }
    }

    init(level: Logger.Level, isJSON: Bool) {
        logLevel = level
        form = Form(isJSON: isJSON)
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let pairs = metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }.map {
            (key: $0.key, value: "\($0.value)")
        }
        var line = form.line(event.level, "\(event.message)", pairs)
        // A line that is cut off can be read by no program any more: its long values are cut, and then all of them.
        for most in [512, 0] where line.utf8.count >= LineLog.longestLine {
            line = form.line(
                event.level, "\(event.message)",
                pairs.map {
                    (key: $0.key, value: $0.value.utf8.count <= most ? $0.value : $0.value.prefix(most) + "...")
                })
        }
        LineLog.write(line, form)
    }

    /// The longest line in bytes: PIPE_BUF of limits.h, which a pipe takes in one piece.
    private static let longestLine = 4096
    /// Lines that nobody took.
    private static let lost = Atomic<Int>(0)

    /// Writes a line, in one write so that those of several threads do not mix.
    ///
    /// The daemon waits for no reader of its log: a line is lost and counted while a pipe or a socket has no room for it, or has no
    /// reader any more. A pipe has room for PIPE_BUF bytes when poll(2) calls it writable (pipe(7)).
    private static func write(_ line: String, _ form: Form) {
        let lines = lost.load(ordering: .relaxed)
        if lines > 0 {
            let about = form.line(
                .warning, "lines of this log were lost, for nobody read them", [(key: "count", value: "\(lines)")])
            guard write(about) else {
                lost.add(1, ordering: .relaxed)
                return
            }
            lost.subtract(lines, ordering: .relaxed)
        }
        if !write(line) { lost.add(1, ordering: .relaxed) }
    }

    private static func write(_ line: String) -> Bool {
        var bytes = Array(line.utf8)
        if bytes.count >= longestLine {
            bytes.removeLast(bytes.count - longestLine + 4)
            // No half of a character.
            while let last = bytes.last, last & 0xc0 == 0x80 { bytes.removeLast() }
            if let last = bytes.last, last >= 0xc0 { bytes.removeLast() }
            bytes += "...".utf8
        }
        bytes.append(0x0a)
        var polled = pollfd(fd: STDERR_FILENO, events: Int16(POLLOUT), revents: 0)
        guard poll(&polled, 1, 0) > 0, polled.revents & Int16(POLLOUT) != 0 else { return false }
        return Glibc.write(STDERR_FILENO, bytes, bytes.count) == bytes.count
    }

    /// As in syslog(3).
    private static func priority(_ level: Logger.Level) -> Int {
        switch level {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }

    /// Values with spaces, quotes, `=` or control characters are quoted, so that a line stays one line, and its pairs stay apart.
    static func quoted(_ value: String) -> String {
        let isPlain =
            !value.isEmpty
            && value.utf8.allSatisfy { $0 > 0x20 && $0 != 0x22 && $0 != 0x3d && $0 != 0x5c && $0 != 0x7f }
        if isPlain { return value }
        var text = "\""
        for character in value.unicodeScalars {
            switch character {
            case "\"", "\\": text += "\\\(character)"
            case "\n": text += "\\n"
            case _ where character.value < 0x20 || character.value == 0x7f: text += "?"
            default: text.unicodeScalars.append(character)
            }
        }
        return text + "\""
    }
}
