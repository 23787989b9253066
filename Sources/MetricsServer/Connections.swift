import NIOCore
import System
import Synchronization

/// The open connections, counted against their limit.
final class Connections: Sendable {
    private let limit: Int
    private let open = Mutex<[ObjectIdentifier: any Channel]>([:])

    init(limit: Int) { self.limit = limit }

    /// - Returns: false if the limit is reached.
    func add(_ channel: any Channel) -> Bool {
        let id = ObjectIdentifier(channel)
        let isAdded = open.withLock { open in
            guard open.count < limit else { return false }
            open[id] = channel
            return true
        }
        if isAdded {
            channel.closeFuture.whenComplete { _ in self.open.withLock { _ = $0.removeValue(forKey: id) } }
        }
        return isAdded
    }

    func all() -> [any Channel] { open.withLock { Array($0.values) } }
}

/// An event that makes a connection close as soon as no answer is under way.
struct Draining: Sendable {}

/// Closes a connection when its time is over.
final class Deadline {
    private let channel: any Channel
    private var task: Scheduled<Void>?

    init(_ channel: any Channel) { self.channel = channel }

    /// Starts the time again.
    func set(nanoseconds: Int64) {
        task?.cancel()
        task = channel.eventLoop.scheduleTask(in: .nanoseconds(nanoseconds)) { [channel] in
            channel.close(promise: nil)
        }
    }

    func cancel() {
        task?.cancel()
        task = nil
    }
}

/// Limits the time that a request takes to arrive, from the connection or from its first byte after an idle period.
final class FirstByteHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let deadline: Deadline
    private let limits: ClientLimits
    private var isAtRest = false

    init(_ deadline: Deadline, limits: ClientLimits) {
        self.deadline = deadline
        self.limits = limits
    }

    func channelActive(context: ChannelHandlerContext) {
        deadline.set(nanoseconds: limits.headTime)
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        deadline.cancel()
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if isAtRest { deadline.set(nanoseconds: limits.headTime) }
        isAtRest = false
        context.fireChannelRead(data)
    }

    /// An answer is complete; the next request may begin within the idle time.
    func rest() {
        isAtRest = true
        deadline.set(nanoseconds: limits.idleTime)
    }
}

/// Rejects a connection above the limit with 503 and closes it.
final class RefusalHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private static let text = "too many connections\n"

    func channelActive(context: ChannelHandlerContext) {
        let answer =
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
            + "Content-Length: \(RefusalHandler.text.utf8.count)\r\nConnection: close\r\n\r\n\(RefusalHandler.text)"
        context.writeAndFlush(RefusalHandler.wrapOutboundOut(ByteBuffer(string: answer)), promise: nil)
        context.close(promise: nil)
    }
}
