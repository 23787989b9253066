package import Glibc
import System

/// Whole files of tests and benches.
package enum TextFile {
    /// The text of a file; empty when it cannot be read.
    package static func read(_ path: String) -> String {
        String(decoding: (try? SystemFile.contents(of: path, limit: .max)) ?? [], as: UTF8.self)
    }

    /// Writes a text in the place of what a file had.
    ///
    /// - Throws: ``LabError``.
    package static func write(_ text: String, to path: String, mode: mode_t = 0o644) throws(LabError) {
        try write(Array(text.utf8), to: path, mode: mode)
    }

    /// Writes bytes in the place of what a file had, with one call, as sysfs needs it.
    ///
    /// - Throws: ``LabError``.
    package static func write(_ bytes: [UInt8], to path: String, mode: mode_t = 0o644) throws(LabError) {
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
        defer { if file >= 0 { close(file) } }
        guard file >= 0, Glibc.write(file, bytes, bytes.count) == bytes.count else {
            throw LabError("cannot write \(path): \(String(cString: strerror(errno)))")
        }
    }
}
