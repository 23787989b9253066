import Glibc

/// Who changes guests: what records, locks and events name.
package struct Doer: Hashable, Sendable {
    /// The program, and its verb.
    package let label: String
    /// The user on whose behalf.
    package let user: Int64

    /// - Parameters:
    ///   - label: the program and its verb.
    ///   - user: the user on whose behalf it works.
    package init(label: String, user: Int64) {
        self.label = label
        self.user = user
    }

    /// This process: its program, and who has called sudo(8), or its real user.
    ///
    /// - Parameter verb: of the command line; nil for a program without verbs.
    package init(verb: String? = nil) {
        let path = CommandLine.arguments.first ?? "?"
        let start = path.utf8.lastIndex(of: UInt8(ascii: "/")).map(path.utf8.index(after:)) ?? path.startIndex
        let program = String(path[start...])
        label = verb.map { "\(program) \($0)" } ?? program
        let user = Int64(getuid())
        self.user = user == 0 ? getenv("SUDO_UID").map { Int64(strtol($0, nil, 10)) } ?? 0 : user
    }
}
