/// Why a configuration is not used: everything that is wrong with it, in the order of the file.
public struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// One thing that is wrong.
    public struct Problem: Hashable, Sendable, CustomStringConvertible {
        /// The line, from 1; nil when it is about the file, or the line is not known.
        public let line: Int?
        /// What is wrong, and what would be right.
        public let message: String

        public var description: String { line.map { "line \($0): \(message)" } ?? message }
    }

    /// The file.
    public let path: String
    /// What is wrong; at least one.
    public let problems: [Problem]
    /// There is no such file.
    public var isMissing = false

    /// One line a problem, with the file's name: `/etc/fdbsteer/fdbsteerd.toml:3: ...`.
    public var description: String {
        problems.map { problem in
            path + (problem.line.map { ":\($0)" } ?? "") + ": " + problem.message
        }.joined(separator: "\n")
    }
}

/// The problems found so far.
struct Problems {
    private(set) var list: [ConfigurationError.Problem] = []

    /// A file that is wrong everywhere need not be told of in full.
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
