import NIOCore
import NIOHTTP1
import System

/// Answers the requests of one connection, one after the other.
///
/// It reads the next request only when the last answer has gone to the kernel, so answers do not pile up in memory for a
/// client that asks without reading.
final class RequestHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private enum State {
        /// No request is under way.
        case waiting
        /// The headers have been read.
        case reading(HTTPRequestHead)
        /// An answer is being written.
        case answering
        /// The connection closes after the answer under way; input is ignored.
        case closing
    }

    private let deadline: Deadline
    private let firstByte: FirstByteHandler
    private let limits: ClientLimits
    private let answer: @Sendable (Route) -> Response
    private var state = State.waiting
    private var isDraining = false

    init(
        _ deadline: Deadline, firstByte: FirstByteHandler, limits: ClientLimits,
        answer: @escaping @Sendable (Route) -> Response
    ) {
        self.deadline = deadline
        self.firstByte = firstByte
        self.limits = limits
        self.answer = answer
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (RequestHandler.unwrapInboundIn(data), state) {
        case (.head(let head), .waiting):
            // A body is refused before it arrives, because no route accepts one.
            if RequestHandler.announcesBody(head) {
                refuseBody(head, context: context)
            } else {
                state = .reading(head)
            }
        case (.body, .reading(let head)): refuseBody(head, context: context)
        case (.end, .reading(let head)): answer(head, context: context)
        default: break
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is Draining else { return context.fireUserInboundEventTriggered(event) }
        isDraining = true
        switch state {
        case .waiting, .reading: context.close(promise: nil)
        case .answering, .closing: break
        }
    }

    /// Called with the parser's errors; the parser closes the connection when this returns.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if case .waiting = state, let error = error as? HTTPParserError {
            let response =
                error == .headerOverflow
                ? Response(
                    status: 431,
                    text: "at most \(limits.headBytes) bytes of headers and \(limits.headers) headers are read\n")
                : Response(status: 400, text: "this is no HTTP/1.1 request\n")
            state = .closing
            write(response, to: nil, context: context)
        } else {
            state = .closing
            context.close(promise: nil)
        }
    }

    private static func announcesBody(_ head: HTTPRequestHead) -> Bool {
        head.headers.contains(name: "transfer-encoding")
            || head.headers["content-length"].contains { $0.contains { $0 != "0" } }
    }

    private func refuseBody(_ head: HTTPRequestHead, context: ChannelHandlerContext) {
        state = .closing
        write(Response(status: 413, text: "no request takes a body\n"), to: head, context: context)
    }

    private func answer(_ head: HTTPRequestHead, context: ChannelHandlerContext) {
        state = head.isKeepAlive && !isDraining ? .answering : .closing
        let path = head.uri.prefix { $0 != "?" }
        let response: Response
        if head.method != .GET && head.method != .HEAD {
            response = Response(status: 405, text: "only GET and HEAD are answered\n")
        } else if let route = Route(rawValue: String(path)) {
            response = answer(route)
        } else {
            let routes = Route.allCases.map(\.rawValue).joined(separator: ", ")
            response = Response(status: 404, text: "there is nothing here; there are \(routes)\n")
        }
        write(response, to: head, context: context)
    }

    private func write(_ response: Response, to request: HTTPRequestHead?, context: ChannelHandlerContext) {
        var isLast = false
        if case .closing = state { isLast = true }
        var headers = HTTPHeaders([
            ("Content-Type", response.contentType), ("Content-Length", "\(response.body.count)"),
            ("X-Content-Type-Options", "nosniff"),
        ])
        if response.status == 405 { headers.add(name: "Allow", value: "GET, HEAD") }
        if isLast {
            headers.add(name: "Connection", value: "close")
        } else if request?.version == .http1_0 {
            headers.add(name: "Connection", value: "keep-alive")
        }
        deadline.set(nanoseconds: limits.answerTime)
        let head = HTTPResponseHead(
            version: .http1_1, status: HTTPResponseStatus(statusCode: response.status), headers: headers)
        let written = context.eventLoop.makePromise(of: Void.self)
        if request?.method == .HEAD || response.body.isEmpty {
            context.writeAndFlush(RequestHandler.wrapOutboundOut(.head(head)), promise: written)
        } else {
            context.write(RequestHandler.wrapOutboundOut(.head(head)), promise: nil)
            let body = context.channel.allocator.buffer(bytes: response.body)
            context.writeAndFlush(RequestHandler.wrapOutboundOut(.body(.byteBuffer(body))), promise: written)
        }
        // The end of the answer is written after the kernel has accepted the rest, and then the next request is read.
        written.futureResult.assumeIsolated().whenComplete { result in
            guard case .success = result else { return context.close(promise: nil) }
            self.finish(context: context)
        }
    }

    private func finish(context: ChannelHandlerContext) {
        if case .answering = state, !isDraining {
            state = .waiting
            firstByte.rest()
            context.writeAndFlush(RequestHandler.wrapOutboundOut(.end(nil)), promise: nil)
        } else {
            context.writeAndFlush(RequestHandler.wrapOutboundOut(.end(nil)), promise: nil)
            context.close(promise: nil)
        }
    }
}
