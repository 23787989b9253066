import Glibc
package import Policy

/// Where the journal and the history are.
public struct StateFolder: Hashable, Sendable {
    /// The journal's folder.
    public let path: String
    /// The journal: gone after a reboot, as the FDB is.
    public let stateFile: String
    /// The history: meant to last.
    public let historyFile: String
    /// What is to be taken over into the history.
    package let backlogFile: String
    /// Byte-range locks, one byte a guest, and what is about to be done to guests (``Journal/Intent``).
    package let lockFile: String

    private let folders: [String]

    /// - Parameter path: one folder for everything; nil for `/run/fdbsteer` and `/var/lib/fdbsteer`.
    public init(_ path: String? = nil) {
        let state = path ?? "/run/fdbsteer"
        let history = path ?? "/var/lib/fdbsteer"
        self.path = state
        stateFile = state + "/state.db"
        lockFile = state + "/lock"
        historyFile = history + "/history.db"
        backlogFile = history + "/history.backlog"
        folders = [state, history]
    }

    /// Makes the folders that are missing, not their parents.
    package func create() throws(ControllerError) {
        for folder in Set(folders) where mkdir(folder, 0o750) != 0 && errno != EEXIST {
            throw StateFolder.unwritable(folder, String(cString: strerror(errno)))
        }
    }

    /// The files that are written when a guest's record changes.
    public var journalFiles: [String] { [stateFile, lockFile] }

    /// There is a journal file, though perhaps not a readable one.
    package var hasJournal: Bool { access(stateFile, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR) }

    /// There is a history file.
    package var hasHistory: Bool { access(historyFile, F_OK) == 0 }

    package static func unwritable(_ path: String, _ reason: String) -> ControllerError {
        ControllerError(
            .precondition, "the journal \(path) cannot be written: \(reason); nothing was changed",
            remedy: "run as root, or name a writable folder by --state or FDBSTEER_STATE")
    }
}
