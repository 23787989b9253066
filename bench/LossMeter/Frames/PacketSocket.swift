import CLab
import Glibc

/// An AF_PACKET socket on one interface (packet(7)), which is closed when this value is destroyed.
struct PacketSocket: ~Copyable {
    let descriptor: Int32

    /// - Parameters:
    ///   - interface: the name of the interface, in the calling thread's network namespace.
    ///   - receiveBuffer: bytes; 0 for a socket that only sends.
    ///   - etherType: the type of the frames to receive; ETH_P_ALL for all, including those that leave through the interface.
    /// - Throws: ``LossMeterError`` that names the interface and what is missing.
    init(
        interface: String, receiveBuffer: Int32, etherType: UInt16 = Frame.etherType
    ) throws(LossMeterError) {
        let index = if_nametoindex(interface)
        guard index != 0 else { throw LossMeterError("there is no interface \(interface)") }
        let descriptor = clab_packet_socket(Int32(index), etherType, receiveBuffer)
        guard descriptor >= 0 else {
            let hint = descriptor == -EPERM ? ": it takes CAP_NET_RAW, run as root" : ""
            throw LossMeterError(
                "cannot open a packet socket on \(interface): \(String(cString: strerror(-descriptor)))\(hint)")
        }
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }
}

/// A thread that runs a body and must be joined; it is in the namespaces of the thread that starts it.
final class WorkerThread {
    private var thread = pthread_t()

    private final class Work {
        let body: () -> Void
        init(_ body: @escaping () -> Void) { self.body = body }
    }

    init(_ body: @escaping () -> Void) throws(LossMeterError) {
        let context = Unmanaged.passRetained(Work(body))
        let failure = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body() }
                return nil
            }, context.toOpaque())
        guard failure == 0 else {
            context.release()
            throw LossMeterError("cannot start a thread: \(String(cString: strerror(failure)))")
        }
    }

    func join() { pthread_join(thread, nil) }
}
