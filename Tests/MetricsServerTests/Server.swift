import MetricsServer
import System

/// Runs `body` with a server on a port that the kernel chose, and stops the server.
func withServer(
    limits: ClientLimits = ClientLimits(),
    answer: @escaping @Sendable (Route) -> Response = { Response(text: "\($0.rawValue)\n") },
    _ body: (MetricsServer) throws -> Void
) throws {
    let server = try MetricsServer.start(port: 0, limits: limits, answer: answer)
    defer { server.stop() }
    try body(server)
}
