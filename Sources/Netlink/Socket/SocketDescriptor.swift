import CNetlink
import Glibc
import System

/// A netlink protocol (netlink(7)).
public struct NetlinkProtocol: RawRepresentable, Hashable, Sendable {
    public let rawValue: Int32

    /// - Parameter rawValue: the protocol's number.
    public init(rawValue: Int32) { self.rawValue = rawValue }

    /// Links, neighbours, bridges. The corresponding C constant is `NETLINK_ROUTE`.
    public static let route = NetlinkProtocol(rawValue: NETLINK_ROUTE)
    /// Families by name, including devlink. The corresponding C constant is `NETLINK_GENERIC`.
    public static let generic = NetlinkProtocol(rawValue: NETLINK_GENERIC)
    /// Packet filters: nftables. The corresponding C constant is `NETLINK_NETFILTER`.
    public static let netfilter = NetlinkProtocol(rawValue: NETLINK_NETFILTER)
}

/// An open netlink socket, closed at the end of its lifetime.
///
/// It belongs to the network namespace of the thread that opened it (network_namespaces(7)).
struct SocketDescriptor: ~Copyable {
    let descriptor: Int32
    /// The socket's address, which the kernel chose (`nl_pid`).
    let portID: UInt32
    /// The receive buffer that the kernel granted, in bytes as the kernel accounts them (SO_RCVBUF returns the doubled value).
    let receiveBuffer: Int

    /// - Parameters:
    ///   - protocol: which part of the kernel to talk to.
    ///   - receiveBuffer: the size to ask for in bytes; it is forced where CAP_NET_ADMIN in the initial user namespace
    ///     allows it, else limited by `net.core.rmem_max`.
    ///   - nonBlocking: opens with SOCK_NONBLOCK.
    init(
        _ protocol: NetlinkProtocol = .route, receiveBuffer wish: Int32, nonBlocking: Bool = false
    ) throws(NetlinkError) {
        let flags = Int32(SOCK_CLOEXEC.rawValue) | (nonBlocking ? Int32(SOCK_NONBLOCK.rawValue) : 0)
        let descriptor = socket(AF_NETLINK, Int32(SOCK_RAW.rawValue) | flags, `protocol`.rawValue)
        guard descriptor >= 0 else {
            throw NetlinkError(.system, "cannot open a netlink socket", errno: KernelErrno(rawValue: errno))
        }
        var portID: UInt32 = 0
        let failure = cn_bind(descriptor, &portID)
        guard failure == 0 else {
            close(descriptor)
            throw NetlinkError(.system, "cannot bind a netlink socket", errno: KernelErrno(rawValue: -failure))
        }
        self.descriptor = descriptor
        self.portID = portID
        receiveBuffer = SocketDescriptor.enlarge(descriptor, to: wish)
    }

    deinit { close(descriptor) }

    /// Sets an option of level SOL_NETLINK.
    func set(_ option: Int32, _ value: Int32, named name: String) throws(NetlinkError) {
        var value = value
        try systemCall("setsockopt \(name)") {
            setsockopt(descriptor, SOL_NETLINK, option, &value, socklen_t(MemoryLayout<Int32>.size))
        }
    }

    /// Limits how long a blocking receive waits. The kernel answers inside send, so only a fault makes it wait.
    func setReceiveTimeout(seconds: Int) throws(NetlinkError) {
        var limit = timeval(tv_sec: seconds, tv_usec: 0)
        try systemCall("setsockopt SO_RCVTIMEO") {
            setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    /// One datagram from the kernel, or nil if none is waiting (EAGAIN).
    ///
    /// Datagrams from other senders are dropped: any local process may send to a netlink port.
    /// - Throws: `overrun` if the kernel dropped messages, `truncated` if the datagram did not fit.
    func receive(into buffer: borrowing ReceiveBuffer) throws(NetlinkError) -> UnsafeRawBufferPointer? {
        let buffer = buffer.bytes
        while true {
            let received = cn_receive(descriptor, buffer.baseAddress, buffer.count, 0)
            if received.length < 0 {
                try SocketDescriptor.check(received.error)
                return nil
            }
            if let datagram = try SocketDescriptor.datagram(received, in: UnsafeRawBufferPointer(buffer)) {
                return datagram
            }
        }
    }

    /// Receives short datagrams from the kernel with one system call: as many as are queued, at least one and at most `most`.
    ///
    /// - Parameters:
    ///   - most: the most datagrams to receive, at most ``ReceiveBuffer/most``.
    ///   - room: the most bytes that each may have.
    ///   - body: receives each datagram from the kernel.
    /// - Returns: false if none is waiting (EAGAIN).
    /// - Throws: as ``receive(into:)``, and what `body` throws; the datagrams after it are lost.
    func receive(
        into buffer: borrowing ReceiveBuffer, most: Int, room: Int,
        _ body: (UnsafeRawBufferPointer) throws(NetlinkError) -> Void
    ) throws(NetlinkError) -> Bool {
        let received = buffer.received
        let count = Int(
            cn_receive_many(
                descriptor, buffer.bytes.baseAddress, room, Int32(min(most, buffer.bytes.count / room)), received))
        if count < 0 {
            try SocketDescriptor.check(received[0].error)
            return false
        }
        for place in 0..<count {
            let start = place * room
            let bytes = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer.bytes)[start..<start + room])
            if let datagram = try SocketDescriptor.datagram(received[place], in: bytes) { try body(datagram) }
        }
        return true
    }

    /// Throws the error of a receive, unless it is EAGAIN.
    private static func check(_ error: Int32) throws(NetlinkError) {
        let number = KernelErrno(rawValue: error)
        if number == .again { return }
        if number == .noBuffers {
            throw NetlinkError(.overrun, "the netlink receive buffer overran, messages were lost", errno: number)
        }
        throw NetlinkError(.system, "cannot receive from netlink", errno: number)
    }

    /// The received bytes; nil if the sender is not the kernel.
    private static func datagram(
        _ received: cn_received, in bytes: UnsafeRawBufferPointer
    ) throws(NetlinkError) -> UnsafeRawBufferPointer? {
        guard received.sender == 0 else { return nil }
        guard received.truncated == 0, received.length <= bytes.count else {
            throw NetlinkError(
                .truncated, "netlink datagram of \(received.length) bytes does not fit \(bytes.count)")
        }
        return UnsafeRawBufferPointer(rebasing: bytes[..<received.length])
    }

    private static func enlarge(_ descriptor: Int32, to wish: Int32) -> Int {
        var size = wish
        let length = socklen_t(MemoryLayout<Int32>.size)
        if setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &size, length) != 0 {
            _ = setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, length)
        }
        var granted: Int32 = 0
        var grantedLength = length
        guard getsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &granted, &grantedLength) == 0 else { return 0 }
        return Int(granted)
    }
}

/// Memory for one datagram, or for several short ones.
struct ReceiveBuffer: ~Copyable {
    /// Kernel dumps fill at most 32 KiB a datagram; the extra room makes a longer one detectable.
    static let size = 65536

    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: ReceiveBuffer.size, alignment: 16)

    /// The most datagrams that are received with one system call.
    static let most = Int(CN_RECEIVE_MOST)
    /// The length, error and sender of each datagram.
    let received = UnsafeMutablePointer<cn_received>.allocate(capacity: ReceiveBuffer.most)

    deinit {
        bytes.deallocate()
        received.deallocate()
    }
}
