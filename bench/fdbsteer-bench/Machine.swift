import Controller
import Glibc
import Lab
import Pages
import System

/// The machine, and its load.
struct Machine: Encodable, Sendable {
    let kernel: String
    let processor: String
    let processors: Int
    let loadBefore: Double
    private(set) var loadAfter = 0.0

    init() {
        var name = utsname()
        uname(&name)
        kernel = withUnsafeBytes(of: &name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        processors = sysconf(Int32(_SC_NPROCESSORS_ONLN))
        processor = Machine.line(of: "/proc/cpuinfo", after: "model name") ?? "unknown"
        loadBefore = Machine.load
    }

    mutating func end() { loadAfter = Machine.load }

    var text: String {
        "\(processors) processors (\(processor)), Linux \(kernel), load \(Figure.text(loadBefore)) before and "
            + "\(Figure.text(loadAfter)) after"
    }

    private static var load: Double {
        var average = [Double](repeating: 0, count: 1)
        return getloadavg(&average, 1) == 1 ? average[0] : 0
    }

    private static func line(of path: String, after word: String) -> String? {
        let line = TextFile.read(path).split(separator: "\n").first { $0.hasPrefix(word) && $0.contains(":") }
        return line.map { String($0.drop { $0 != ":" }.dropFirst().drop { $0 == " " }) }
    }
}

extension Page {
    /// Says where a measurement was made, and how to repeat it.
    mutating func setting(_ machine: Machine) {
        heading("Where, and when")
        facts([
            ("program", "fdbsteer-bench \(Build.version)"),
            ("date", Timestamp.text(Stopwatch.realTime)),
            ("machine", "\(machine.processors) processors, \(machine.processor)"),
            ("kernel", "Linux \(machine.kernel)"),
            ("load", "\(Figure.text(machine.loadBefore)) before, \(Figure.text(machine.loadAfter)) after"),
        ])
        heading("How to repeat it")
        paragraph("As root, from the project's root (scripts/build-release builds the programs):")
        commands([CommandLine.arguments.map(Page.quoted).joined(separator: " ")])
    }

    /// A word as a shell needs it.
    private static func quoted(_ word: String) -> String {
        let isPlain = !word.isEmpty && word.allSatisfy { $0.isLetter || $0.isNumber || "-_./=,:+".contains($0) }
        return isPlain ? word : "'" + word.replacing("'", with: "'\\''") + "'"
    }
}
