import CLab
import Glibc

/// A network namespace that lasts as long as this object, or the last process or thread in it.
///
/// Nothing names it in the file system: when this process is killed, the namespace goes too, once nothing runs in it.
public final class NetworkNamespace: Sendable {
    private let descriptor: Int32

    /// Makes one, with `lo` up.
    ///
    /// - Throws: ``LabError``; it takes root.
    public init() throws {
        // The namespace that a thread unshares is known by the thread's own entry in /proc.
        descriptor = try Namespace.run {
            let opened = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
            guard opened >= 0 else {
                throw LabError("cannot open the namespace: \(String(cString: strerror(errno)))")
            }
            return opened
        }
    }

    deinit { close(descriptor) }

    /// The path of the namespace for other processes (`ip link set DEV netns PATH`), as long as this object lasts.
    public var path: String { "/proc/\(getpid())/fd/\(descriptor)" }

    /// Runs `body` on a thread in the namespace, and waits for it. Threads and processes that it starts are in it too.
    ///
    /// - Throws: ``LabError``, or what `body` throws.
    public func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) throws -> T {
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
