import ArgumentParser
import Glibc
import JSON
import Lab
import Pages

/// Where the results of a bench go beside standard output.
struct OutputOptions: ParsableArguments {
    @Option(name: .long, help: "Write the results as JSON.", transform: TextFile.writable)
    var json: String?
    @Option(
        name: .long, help: "Write one HTML page with tables, charts, and how to repeat the measurement.",
        transform: TextFile.writable)
    var html: String?
    @Flag(name: .long, help: "Print all columns of the tables, not only those that fit 100.")
    var wide = false

    /// Writes what was asked for.
    func write(_ report: some Encodable, _ page: @autoclosure () -> Page) throws {
        if let json { try TextFile.write(json: report, to: json) }
        if let html {
            try TextFile.write(page().html, to: html)
            Progress.say("the page: \(html)")
        }
    }
}

/// What a bench is at, on standard error.
enum Progress {
    static func say(_ words: String) {
        let line = Array((words + "\n").utf8)
        _ = Glibc.write(STDERR_FILENO, line, line.count)
    }
}

extension TextFile {
    /// Writes an object with snake_case keys in alphabetical order.
    static func write(json value: some Encodable, to path: String) throws {
        try write(JSON(encoding: value).pretty, to: path)
    }

    /// Finds out whether a file can be written, before anything is measured: it is opened, and left as it was.
    ///
    /// - Returns: its path.
    /// - Throws: `ValidationError` when it cannot be opened.
    static func writable(_ path: String) throws -> String {
        let isNew = access(path, F_OK) != 0
        let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw ValidationError("\(path) cannot be written: \(String(cString: strerror(errno)))")
        }
        close(descriptor)
        if isNew { unlink(path) }
        return path
    }
}
