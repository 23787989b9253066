import Glibc
import Logging
import Synchronization
import System

/// Writes one line an event to standard error: time, level, event, and `key=value` pairs in the order of their keys.
///
/// Under systemd (JOURNAL_STREAM is set) the line begins with the level as `<N>` (sd-daemon(3)) instead of the time,
/// which the journal notes itself.
struct LineLog: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level
    private let isJournal = Environment.value("JOURNAL_STREAM") != nil

    init(level: Logger.Level) { logLevel = level }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var line = isJournal ? "<\(LineLog.priority(event.level))>" : LineLog.time() + " \(event.level) "
        line += "\(event.message)"
        let pairs = metadata.merging(event.metadata ?? [:]) { $1 }
        for (key, value) in pairs.sorted(by: { $0.key < $1.key }) { line += " \(key)=\(LineLog.quoted("\(value)"))" }
        LineLog.write(line, isJournal: isJournal)
    }

    /// The longest line in bytes: PIPE_BUF of limits.h, which a pipe takes in one piece.
    private static let longestLine = 4096
    /// Lines that nobody took.
    private static let lost = Atomic<Int>(0)

    /// Writes a line, in one write so that those of several threads do not mix.
    ///
    /// The daemon waits for no reader of its log: a line is lost and counted while a pipe or a socket has no room for it, or has no
    /// reader any more. A pipe has room for PIPE_BUF bytes when poll(2) calls it writable (pipe(7)).
    private static func write(_ line: String, isJournal: Bool) {
        let lines = lost.load(ordering: .relaxed)
        if lines > 0 {
            let about = isJournal ? "<4>" : LineLog.time() + " warning "
            guard write("\(about)lines of this log were lost, for nobody read them count=\(lines)") else {
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

    /// Values with spaces, quotes or control characters are quoted, so that a line stays one line.
    static func quoted(_ value: String) -> String {
        let isPlain = !value.isEmpty && value.utf8.allSatisfy { $0 > 0x20 && $0 != 0x22 && $0 != 0x5c && $0 != 0x7f }
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

    /// UTC with milliseconds, as in RFC 3339.
    private static func time() -> String {
        let now = Stopwatch.realTime
        var seconds = time_t(now / 1_000_000_000)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 32) { buffer in
            guard let start = buffer.baseAddress else { return "" }
            let length = strftime(start, buffer.count, "%Y-%m-%dT%H:%M:%S", &parts)
            let text = String(decoding: buffer.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self)
            let milliseconds = String(now / 1_000_000 % 1000)
            return text + "." + String(repeating: "0", count: 3 - milliseconds.count) + milliseconds + "Z"
        }
    }
}
