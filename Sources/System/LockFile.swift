import CNetlink
import Glibc

/// The file with one byte for each guest that can be locked; locks end with the process.
package struct LockFile: ~Copyable {
    package let descriptor: Int32

    /// Takes over an open descriptor and closes it at the end of its life.
    package init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }
}
