import CNetlink
import Glibc
import System

/// Runs a ``MonitorSocket`` on a thread of its own and reports what it hears.
///
/// Overruns are reported, not hidden: the handler then resynchronises. The socket is opened on the caller's thread, so
/// that it belongs to the caller's network namespace.
public final class MonitorThread: Sendable {
    /// What the thread reports, in the kernel's order.
    public enum Event {
        /// A notification; the payload is valid during the call.
        case message(MessageHeader, UnsafeRawBufferPointer)
        /// Notifications were lost; everything queued before has been reported.
        case overrun
        /// The socket failed; the thread ends.
        case failed(NetlinkError)
    }

    private let wake: Int32
    private let thread: pthread_t

    private final class Context {
        let socket: MonitorSocket
        let wake: Int32
        let handler: @Sendable (Event) -> Void

        init(socket: consuming MonitorSocket, wake: Int32, handler: @escaping @Sendable (Event) -> Void) {
            self.socket = socket
            self.wake = wake
            self.handler = handler
        }
    }

    /// Joins the groups and starts the thread: every change after the return is heard.
    ///
    /// - Parameters:
    ///   - groups: what to hear.
    ///   - receiveBuffer: bytes to ask for.
    ///   - handler: called on the monitor's thread.
    /// - Throws: ``NetlinkError`` of code `system`.
    public init(
        groups: [MulticastGroup],
        receiveBuffer: Int32 = 8 << 20,
        handler: @escaping @Sendable (Event) -> Void
    ) throws(NetlinkError) {
        let socket = try MonitorSocket(groups: groups, receiveBuffer: receiveBuffer)
        let wake = try systemCall("eventfd") { eventfd(0, Int32(EFD_CLOEXEC)) }
        self.wake = wake
        let context = Unmanaged.passRetained(Context(socket: socket, wake: wake, handler: handler))
        var thread = pthread_t()
        let failure = pthread_create(
            &thread, nil,
            { argument in
                if let argument { MonitorThread.run(Unmanaged<Context>.fromOpaque(argument).takeRetainedValue()) }
                return nil
            }, context.toOpaque())
        guard failure == 0 else {
            context.release()
            close(wake)
            throw NetlinkError(.system, "cannot start the monitor thread", errno: KernelErrno(rawValue: failure))
        }
        self.thread = thread
    }

    /// Stops the thread and waits for it; must not be called from the handler.
    deinit {
        eventfd_write(wake, 1)
        pthread_join(thread, nil)
        close(wake)
    }

    private static func run(_ context: Context) {
        var polled = [
            pollfd(fd: context.socket.descriptor, events: Int16(POLLIN), revents: 0),
            pollfd(fd: context.wake, events: Int16(POLLIN), revents: 0),
        ]
        var overran = false
        while true {
            do throws(NetlinkError) {
                while try context.socket.receive({ context.handler(.message($0, $1)) }) {}
                if overran {
                    overran = false
                    context.handler(.overrun)
                }
                try systemCall("poll") { poll(&polled, nfds_t(polled.count), -1) }
                if polled[1].revents != 0 { return }
            } catch {
                guard error.code == .overrun else { return context.handler(.failed(error)) }
                overran = true
            }
        }
    }
}
