import CLab
import Glibc

/// A network namespace that exists as long as this object, or the last process or thread in it.
///
/// It has no name in the file system: if this process is killed, the namespace ends as soon as nothing runs in it.
package final class NetworkNamespace: Sendable {
    private let descriptor: Int32

    /// Creates a namespace with `lo` up.
    ///
    /// - Throws: ``LabError``. It needs root.
    package init() throws {
        // The namespace that a thread unshares is reached through the thread's own entry in /proc.
        descriptor = try Namespace.run {
            let opened = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
            guard opened >= 0 else {
                throw LabError("cannot open the namespace: \(String(cString: strerror(errno)))")
            }
            return opened
        }
    }

    deinit { close(descriptor) }

    /// The path of the namespace for other processes (`ip link set DEV netns PATH`), valid as long as this object exists.
    package var path: String { "/proc/\(getpid())/fd/\(descriptor)" }

    /// Runs `body` on a thread in the namespace, and waits for it. Threads and processes that it starts are in it too.
    ///
    /// - Throws: ``LabError``, or an error that `body` throws.
    package func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) throws -> T {
        try withExtendedLifetime(self) {
            let descriptor = descriptor
            return try Namespace.onThread {
                let failure = clab_enter(descriptor)
                guard failure == 0 else {
                    throw LabError("cannot enter a namespace: \(String(cString: strerror(-failure)))")
                }
                return try body()
            }
        }
    }
}
