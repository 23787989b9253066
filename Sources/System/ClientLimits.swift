/// Limits for one client of a server of the daemon's, and for all of them together.
package struct ClientLimits: Hashable, Sendable {
    /// The most simultaneous connections; any further one is told so and closed.
    package var connections = 64
    /// The most bytes of a request's head (HTTP): target, header names and values together.
    package var headBytes = 8 << 10
    /// The most headers of a request (HTTP).
    package var headers = 64
    /// The most bytes of a message (Varlink): a guest of 6,400 addresses is prepared by 170 KB.
    package var messageBytes = 256 << 10
    /// The most time from the first byte of a request, or from the connection itself, to the end of its head or message, in
    /// nanoseconds. It stops clients that send byte by byte forever.
    package var headTime: Int64 = 5_000_000_000
    /// How long a client may take to read an answer, in nanoseconds.
    package var answerTime: Int64 = 10_000_000_000
    /// How long a connection may be idle between two requests, in nanoseconds: more than a usual scrape interval.
    package var idleTime: Int64 = 75_000_000_000

    /// The defaults.
    package init() {}
}
