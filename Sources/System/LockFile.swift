import CNetlink
import Glibc

/// The file whose bytes are locked, one a guest; locks end with the process.
package struct LockFile: ~Copyable {
    package let descriptor: Int32

    /// Makes one from its parts.
    package init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }
}
