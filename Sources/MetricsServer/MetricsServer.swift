import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
package import System

/// A small HTTP/1.1 server for scrapers and health checks. It serves only GET and HEAD of the routes of ``Route``.
///
/// It runs on its own thread, which sleeps while no request arrives and is niced below the rest of the program, because a
/// flood of requests must not delay the thread that redirects guests. A closure on that thread makes the answers; it reads
/// what other threads have prepared, and must not block. The thread is in the network namespace of the thread that called
/// ``start(host:port:limits:answer:)``.
///
/// Start and stop are plain calls. The process has one service, and its own loop handles signals, so a lifecycle framework
/// would have nothing to order.
package struct MetricsServer: Sendable {
    /// The port that it listens on: the requested one, or the kernel's choice for 0.
    package let port: Int
    private let channel: any Channel
    private let connections: Connections

    /// The niceness of the server's thread (nice(1)).
    private static let niceness: CInt = 10

    /// Binds, and returns once the server listens.
    ///
    /// - Parameters:
    ///   - host: an IPv4 or IPv6 address of this host; names are not resolved.
    ///   - port: the port; 0 lets the kernel choose.
    ///   - limits: limits for clients.
    ///   - answer: makes an answer. It is called on the server's thread for each request and must be quick.
    /// - Throws: ``MetricsServerError`` if the address is invalid, is not this host's, or is taken.
    package static func start(
        host: String = "127.0.0.1", port: Int = 9923, limits: ClientLimits = ClientLimits(),
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
                port: channel.localAddress?.port ?? port, channel: channel, connections: connections)
        } catch {
            throw MetricsServer.refusal(error, host: host, port: port)
        }
    }

    /// Stops listening, waits for answers under way and closes all connections.
    ///
    /// The thread sleeps until the process ends: NIO would end it by Dispatch, whose workers set a priority that the daemon's unit does
    /// not let them have, and complain in the journal.
    ///
    /// Call it once, from a thread other than the server's.
    package func stop() {
        try? channel.close().wait()
        for connection in connections.all() {
            connection.pipeline.fireUserInboundEventTriggered(Draining())
        }
        // The time limit ends an answer that its client does not read.
        for connection in connections.all() { try? connection.closeFuture.wait() }
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
    /// Adds the handlers for parsing, one request at a time, time limits and answers.
    fileprivate func addRequestHandlers(limits: ClientLimits, answer: @escaping @Sendable (Route) -> Response) throws {
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
