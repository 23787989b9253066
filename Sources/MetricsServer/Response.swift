/// The pages that a client can request.
package enum Route: String, Hashable, Sendable, CaseIterable {
    /// The page that Prometheus scrapes.
    case metrics = "/metrics"
    /// Whether the program is alive.
    case health = "/healthz"
    /// Whether the program does its work.
    case readiness = "/readyz"
}

/// An answer.
package struct Response: Hashable, Sendable {
    /// The status code, 200 to 599.
    package var status: Int
    /// The value of the header `Content-Type`.
    package var contentType: String
    /// The body; it is not sent in answers to HEAD.
    package var body: [UInt8]

    /// - Parameters:
    ///   - status: the status code, 200 to 599.
    ///   - contentType: the value of the header `Content-Type`, without line breaks.
    ///   - body: the body.
    package init(status: Int = 200, contentType: String, body: [UInt8]) {
        self.status = status
        self.contentType = contentType
        self.body = body
    }

    /// An answer of plain text.
    package init(status: Int = 200, text: String) {
        self.init(status: status, contentType: "text/plain; charset=utf-8", body: Array(text.utf8))
    }
}

/// The reason why the server does not run.
package struct MetricsServerError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What failed, with the kernel's text.
    package let message: String
    /// What to do about it.
    package let remedy: String

    package var description: String { "\(message) (\(remedy))" }
}
