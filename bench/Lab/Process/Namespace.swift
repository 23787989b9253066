import CLab
import Glibc

/// A private network namespace that ends with the work done in it.
///
/// Namespaces are per thread: the work runs on its own thread, and threads and processes that it starts are in the
/// namespace too. The kernel removes the namespace and every interface in it when the last of them ends, so nothing is
/// left behind even if this process is killed.
package enum Namespace {
    /// Runs `body` in a fresh namespace with `lo` up, and waits for it.
    ///
    /// - Parameter ownMounts: it has a mount namespace of its own too, whose mounts nobody else sees.
    /// - Throws: ``LabError`` if the namespace cannot be created (that needs root), or an error that `body` throws.
    package static func run<T: Sendable>(
        ownMounts: Bool = false, _ body: @escaping @Sendable () throws -> T
    ) throws -> T {
        try onThread {
            let failure = clab_unshare(ownMounts ? CLAB_NEWNET | CLAB_NEWNS : CLAB_NEWNET)
            guard failure == 0 else {
                throw LabError("cannot make a network namespace: \(String(cString: strerror(-failure)))")
            }
            if ownMounts { try Command.script("mount --make-rprivate /") }
            try Command.script("ip link set lo up")
            return try body()
        }
    }

    /// Runs `body` on its own thread and waits for it.
    static func onThread<T: Sendable>(_ body: @escaping @Sendable () throws -> T) throws -> T {
        let result = Box<Result<T, any Error>>()
        try thread { result.value = Result { try body() } }.join()
        guard let value = result.value else { throw LabError("the thread ended without a result") }
        return try value.get()
    }

    /// Starts a thread in the calling thread's namespaces.
    ///
    /// - Throws: ``LabError``.
    package static func thread(_ body: @escaping @Sendable () -> Void) throws(LabError) -> LabThread {
        let context = Unmanaged.passRetained(Work(body))
        var thread = pthread_t()
        let failure = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body() }
                return nil
            }, context.toOpaque())
        guard failure == 0 else {
            context.release()
            throw LabError("cannot start a thread: \(String(cString: strerror(failure)))")
        }
        return LabThread(thread: thread)
    }

    /// The reason why namespaces cannot be created here; nil if they can.
    package static var obstacle: String? {
        do {
            try run {}
            return nil
        } catch {
            return "\(error)"
        }
    }

    private final class Work: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    /// Written by one thread, and read by another after a join.
    private final class Box<T>: @unchecked Sendable {
        var value: T?
    }
}

/// A thread that must be joined once.
package struct LabThread: Sendable {
    let thread: pthread_t

    /// Waits for its end.
    package func join() { pthread_join(thread, nil) }
}
