import Glibc

/// Why a file of this program's cannot be opened, read or written, and what to do about it.
struct FileFault {
    /// In words.
    let words: String
    /// What to do; nil where nothing is known to help.
    let remedy: String?

    /// - Parameters:
    ///   - code: of `errno`.
    ///   - elsewhere: what helps beside rights that the caller lacks.
    init(_ code: Int32, elsewhere: String? = nil) {
        words = String(cString: strerror(code))
        let or = elsewhere.map { ", or \($0)" } ?? ""
        switch code {
        case EACCES, EPERM:
            remedy =
                geteuid() == 0
                ? "root itself may not: look at its owner, mode and attributes (ls -ld, lsattr)\(or)"
                : "run as root\(or)"
        case EISDIR, ELOOP, ENOTDIR, ENXIO, ENODEV, EEXIST: remedy = FileFault.misplaced
        case EROFS: remedy = "mount it writable\(or)"
        case ENOSPC: remedy = "free some space there"
        case EDQUOT: remedy = "raise its owner's quota, or free some of it"
        default: remedy = elsewhere
        }
    }

    private init(_ words: String, remedy: String) { (self.words, self.remedy) = (words, remedy) }

    private static let misplaced = "it has the place of a file or folder of fdbsteer's: move it away"

    /// It is a file of another kind.
    static let irregular = FileFault("it is not a regular file", remedy: misplaced)

    /// What is wrong with a file that is opened by its path, and must not be followed if it is a link.
    ///
    /// - Returns: nil where it is regular, or missing.
    static func kind(of path: String) -> FileFault? {
        var information = stat()
        guard lstat(path, &information) == 0 else { return nil }
        return switch information.st_mode & S_IFMT {
        case S_IFREG: nil
        case S_IFLNK: FileFault(ELOOP)
        case S_IFDIR: FileFault(EISDIR)
        default: irregular
        }
    }
}
