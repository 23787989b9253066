import Glibc
package import Policy

/// The folders of the journal and the history.
package struct StateFolder: Hashable, Sendable {
    /// The journal's folder.
    package let path: String
    /// The database in which earlier versions kept the journal.
    package let stateFile: String
    /// The database that is made of the log of events; it survives reboots.
    package let historyFile: String
    /// The folder of the history.
    let historyFolder: String
    /// Who works in it.
    package private(set) var doer: Doer

    private let folders: [String]
    /// The caller has named it; otherwise it is where this program has always its own.
    private let isNamed: Bool

    /// - Parameters:
    ///   - path: one folder for everything; nil for `/run/fdbsteer` and `/var/lib/fdbsteer`.
    ///   - doer: who works in it.
    package init(_ path: String? = nil, by doer: Doer = Doer()) {
        isNamed = path != nil
        let state = path ?? "/run/fdbsteer"
        let history = path ?? "/var/lib/fdbsteer"
        self.path = state
        stateFile = state + "/state.db"
        historyFile = history + "/history.db"
        historyFolder = history
        self.doer = doer
        folders = [state, history]
    }

    /// The same folders, in which another works.
    package func worked(by doer: Doer) -> StateFolder {
        var folder = self
        folder.doer = doer
        return folder
    }

    /// Creates missing folders, but not their parents.
    package func create() throws(ControllerError) {
        for folder in Set(folders) where mkdir(folder, 0o750) != 0 && errno != EEXIST {
            throw StateFolder.unwritable(folder, code: errno)
        }
    }

    /// Makes sure that a folder that the caller has named is there: in a mistyped one nothing is ever prepared, which looks like a host
    /// where all is well.
    ///
    /// - Throws: ``ControllerError`` of code `precondition`.
    package func requireNamed() throws(ControllerError) {
        guard isNamed, access(path, F_OK) != 0, errno == ENOENT || errno == ENOTDIR else { return }
        throw ControllerError(
            .precondition, "there is no folder \(path)",
            remedy: "name the right folder by --state or FDBSTEER_STATE; \"fdbsteer prepare\" makes it")
    }

    /// Why nothing is known of any guest, in words, where the folder itself is the reason; nil where it is not.
    package var emptiness: String? {
        if access(path, F_OK) != 0 { return errno == ENOENT ? "there is no folder \(path)" : nil }
        guard !hasDatabase, access(path + "/guests", F_OK) != 0, errno == ENOENT else { return nil }
        return "the folder \(path) has no record of any guest"
    }

    /// The same for people who ask about all guests: a folder that the caller has not named may well be empty.
    package var surprise: String? { isNamed ? emptiness : nil }

    /// Why nothing can be recorded in the journal's folder, so that no redirection is made; nil while its file system has room.
    package var fullness: ControllerError? {
        var space = statvfs()
        guard statvfs(path, &space) == 0 else { return nil }
        let hasRoom = space.f_blocks == 0 || space.f_bfree > 0
        if hasRoom, space.f_files == 0 || space.f_ffree > 0 { return nil }
        return ControllerError(
            .precondition,
            "the file system of \(path) \(hasRoom ? "has no inode left" : "is full"): no redirection can be recorded, so none is made, "
                + "and the daemon cannot tell here what it has found",
            remedy: "free some space there: df \(path)")
    }

    /// An earlier version's journal exists that is not converted yet.
    package var hasDatabase: Bool { access(stateFile, F_OK) == 0 }

    /// The error of a journal that cannot be written. Only the caller can tell whether anything was changed before.
    package static func unwritable(
        _ path: String, _ reason: String, remedy: String? = elsewhere
    ) -> ControllerError {
        ControllerError(.precondition, "the journal \(path) cannot be written: \(reason)", remedy: remedy)
    }

    /// What helps where this one cannot be used.
    package static let elsewhere = "name another folder by --state or FDBSTEER_STATE"

    /// The same, by an error number.
    static func unwritable(_ path: String, code: Int32) -> ControllerError {
        let fault = FileFault(code, elsewhere: elsewhere)
        return unwritable(path, fault.words, remedy: fault.remedy)
    }

    /// What to do where a file of the history cannot be read.
    static func remedy(for code: Int32) -> String? {
        FileFault(code, elsewhere: "name the right folder by --state or FDBSTEER_STATE").remedy
    }
}
