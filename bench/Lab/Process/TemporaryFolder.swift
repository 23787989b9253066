import Glibc

/// A folder of one's own, to be removed by ``remove()``.
package struct TemporaryFolder: Sendable {
    /// Its path.
    package let path: String

    /// - Parameter parent: where to make it; nil for a tmpfs, where there is one, as `/run` is in production.
    /// - Throws: ``LabError``.
    package init(parent: String? = "/tmp") throws(LabError) {
        let parent = parent ?? (access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp")
        var template = Array("\(parent)/fdbsteer-lab-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw LabError("cannot make a folder in \(parent): \(String(cString: strerror(errno)))")
        }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// A folder on a tmpfs that is also removed when the program is interrupted. Call it before there are other threads.
    ///
    /// - Throws: ``LabError``.
    package static func goneWhenInterrupted() throws -> TemporaryFolder {
        let folder = try TemporaryFolder(parent: nil)
        try Interruption.onSignal { folder.remove() }
        return folder
    }

    /// Removes it with all that is in it.
    package func remove() { _ = try? Command.run(["rm", "-rf", path]) }
}
