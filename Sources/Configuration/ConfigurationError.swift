/// Everything that is wrong with a configuration that is not used, in the order of the file.
package struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// One problem.
    package struct Problem: Hashable, Sendable, CustomStringConvertible {
        /// The line, from 1; nil if the problem concerns the whole file, or the line is not known.
        package let line: Int?
        /// What is wrong, and what would be right.
        package let message: String

        package var description: String { line.map { "line \($0): \(message)" } ?? message }
    }

    /// The file.
    package let path: String
    /// The problems; at least one.
    package let problems: [Problem]
    /// True if there is no such file.
    package var isMissing = false

    /// One line for each problem, with the file's name: `/etc/fdbsteer/fdbsteerd.toml:3: ...`.
    package var description: String {
        problems.map { problem in
            path + (problem.line.map { ":\($0)" } ?? "") + ": " + problem.message
        }.joined(separator: "\n")
    }
}

/// The problems found so far.
struct Problems {
    private(set) var list: [ConfigurationError.Problem] = []

    var count: Int { list.count }

    /// The most problems that are reported, for a file that is wrong everywhere.
    private static let most = 50

    mutating func add(line: Int?, _ message: String) {
        guard list.count < Problems.most else { return }
        list.append(.init(line: line, message: message))
    }

    func error(path: String) -> ConfigurationError? {
        if list.isEmpty { return nil }
        let ordered = list.enumerated().sorted { left, right in
            (left.element.line ?? 0, left.offset) < (right.element.line ?? 0, right.offset)
        }
        return ConfigurationError(path: path, problems: ordered.map(\.element))
    }
}
