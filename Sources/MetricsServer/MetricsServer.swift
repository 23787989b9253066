import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix

/// A small HTTP/1.1 server for scrapers and health checks: GET and HEAD of the routes of ``Route``, and nothing else.
///
/// It runs on one thread of its own, which sleeps while nobody asks, and which is niced below the rest of the program: a
/// storm of requests must not hold up the thread that redirects guests. Answers come from a closure that is called on that
/// thread; it reads what others have left for it, and must not wait. The thread is in the network namespace of the thread
/// that called ``start(host:port:limits:answer:)``.
///
/// Start and stop are plain calls: with one service in the process, and signals handled by the program's own loop, a
/// framework for lifecycles has nothing to order.
public struct MetricsServer: Sendable {
    /// The port that it listens on: the one asked for, or the kernel's choice for 0.
    public let port: Int
    private let channel: any Channel
    private let group: MultiThreadedEventLoopGroup
    private let connections: Connections

    /// How far the server's thread stands back (nice(1)).
    private static let niceness: CInt = 10

    /// Binds, and returns once the server listens.
    ///
    /// - Parameters:
    ///   - host: an IPv4 or IPv6 address of this host; names are not looked up.
    ///   - port: 0 for one of the kernel's choice.
    ///   - limits: what clients may take.
    ///   - answer: makes an answer; called on the server's thread for each request, must be quick.
    /// - Throws: ``MetricsServerError``: the address is none, is not this host's, or is taken.
    public static func start(
        host: String = "127.0.0.1", port: Int = 9923, limits: Limits = Limits(),
        answer: @escaping @Sendable (Route) -> Response
    ) throws(MetricsServerError) -> MetricsServer {
        guard (0...65_535).contains(port), let address = try? SocketAddress(ipAddress: host, port: port) else {
            throw MetricsServerError(
                message: "cannot listen on \(host) port \(port): no IP address and port",
                remedy: "give an address of this host, such as 127.0.0.1 or ::1, and a port from 0 to 65535")
        }
        let connections = Connections(limit: limits.connections)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        group.next().execute { _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, MetricsServer.niceness) }
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 128)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try connections.add(channel)
                        ? channel.addRequestHandlers(limits: limits, answer: answer)
                        : channel.pipeline.syncOperations.addHandler(RefusalHandler())
                }
            }
        do {
            let channel = try bootstrap.bind(to: address).wait()
            return MetricsServer(
                port: channel.localAddress?.port ?? port, channel: channel, group: group, connections: connections)
        } catch {
            try? group.syncShutdownGracefully()
            throw MetricsServer.refusal(error, host: host, port: port)
        }
    }

    /// Stops listening, lets answers end that are under way, closes all connections and waits for the thread's end.
    ///
    /// To be called once, from a thread that is not the server's.
    public func stop() {
        try? channel.close().wait()
        for connection in connections.all() {
            connection.pipeline.fireUserInboundEventTriggered(Draining())
        }
        // An answer that its client does not read ends with its time limit.
        for connection in connections.all() { try? connection.closeFuture.wait() }
        try? group.syncShutdownGracefully()
    }

    private static func refusal(_ error: any Error, host: String, port: Int) -> MetricsServerError {
        let place = "cannot listen on \(host) port \(port)"
        guard let error = error as? IOError else {
            return MetricsServerError(message: "\(place): \(error)", remedy: "choose another address")
        }
        let reason = String(cString: strerror(error.errnoCode))
        let remedy =
            switch error.errnoCode {
            case EADDRINUSE: "another program has the port, perhaps another fdbsteerd: stop it, or choose another port"
            case EADDRNOTAVAIL: "choose an address of this host"
            case EACCES: "choose a port from 1024 on"
            default: "choose another address and port"
            }
        return MetricsServerError(message: "\(place): \(reason)", remedy: remedy)
    }
}

extension Channel {
    /// Parser, one request at a time, time limits, answers.
    fileprivate func addRequestHandlers(limits: Limits, answer: @escaping @Sendable (Route) -> Response) throws {
        var decoding = NIOHTTPDecoderLimitConfiguration()
        decoding.maxHeaderFieldSize = limits.headBytes
        decoding.maxHeaderListSize = limits.headBytes
        decoding.maxHeaderFieldCount = limits.headers
        let deadline = Deadline(self)
        let pipeline = pipeline.syncOperations
        let firstByte = FirstByteHandler(deadline, limits: limits)
        try pipeline.addHandler(firstByte)
        try pipeline.addHandler(HTTPResponseEncoder())
        try pipeline.addHandler(ByteToMessageHandler(HTTPRequestDecoder(limitConfiguration: decoding)))
        try pipeline.addHandler(HTTPServerPipelineHandler())
        try pipeline.addHandler(RequestHandler(deadline, firstByte: firstByte, limits: limits, answer: answer))
    }
}
