import Glibc
import Lab
import MetricsServer
import Testing

struct MetricsServerTests {
    @Test func routes() throws {
        let answer: @Sendable (Route) -> Response = { route in
            route == .readiness ? Response(status: 503, text: "reading\n") : Response(text: "\(route.rawValue)\n")
        }
        try withServer(answer: answer) { server in
            for path in ["/metrics", "/healthz", "/metrics?name%5B%5D=a"] {
                let got = try HTTPConnection.get(path, port: server.port)
                #expect(got.status == 200 && got.body == "\(path.prefix { $0 != "?" })\n")
                #expect(got.head.contains("Content-Type: text/plain; charset=utf-8"))
            }
            let ready = try HTTPConnection.get("/readyz", port: server.port)
            #expect(ready.status == 503 && ready.body == "reading\n")
            let head = try HTTPConnection.get("/metrics", port: server.port, method: "HEAD")
            #expect(head.status == 200 && head.head.contains("Content-Length: 9"))
            for path in ["/", "/metrics/", "/../etc/passwd", "*", "http://other/metrics"] {
                let missing = try HTTPConnection.get(path, port: server.port)
                #expect(missing.status == 404, "\(path)")
                #expect(missing.body == "there is nothing here; there are /metrics, /healthz, /readyz\n")
            }
            for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
                let refused = try HTTPConnection.get("/metrics", port: server.port, method: method)
                #expect(refused.status == 405 && refused.head.contains("Allow: GET, HEAD"), "\(method)")
                #expect(refused.body == "only GET and HEAD are answered\n")
            }
        }
    }

    @Test func connectionsAreKept() throws {
        try withServer { server in
            let client = try HTTPConnection(port: server.port)
            for _ in 0..<3 {
                client.send("GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
                #expect(try client.answer()?.body == "/metrics\n")
            }
            client.send("HEAD /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
            #expect(try client.answer(bodyFollows: false)?.status == 200)
            // Several requests at once are answered one after the other.
            client.send(
                "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /no HTTP/1.1\r\nHost: a\r\n\r\n"
                    + "GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            #expect(try client.answer()?.body == "/healthz\n")
            #expect(try client.answer()?.status == 404)
            #expect(try client.answer()?.body == "/readyz\n")
            #expect(try client.rest() == "")
            let old = try HTTPConnection(port: server.port)
            old.send("GET /metrics HTTP/1.0\r\n\r\n")
            #expect(try old.rest().hasSuffix("\r\n\r\n/metrics\n"))
            let kept = try HTTPConnection(port: server.port)
            kept.send("GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            #expect(try kept.answer()?.head.contains("Connection: keep-alive") == true)
            kept.send("GET /healthz HTTP/1.0\r\n\r\n")
            #expect(try kept.answer()?.body == "/healthz\n")
        }
    }

    @Test(arguments: [
        "Content-Length: 5\r\n\r\nhello", "Content-Length: 99999999999\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "Expect: 100-continue\r\nContent-Length: 12\r\n\r\n",
    ])
    func bodiesAreRefused(rest: String) throws {
        try withServer { server in
            let client = try HTTPConnection(port: server.port)
            client.send("GET /metrics HTTP/1.1\r\nHost: test\r\n" + rest)
            let answer = try #require(try client.answer())
            #expect(answer.status == 413 && answer.body == "no request takes a body\n")
            #expect(try client.rest() == "")
        }
    }

    @Test func whereItListens() throws {
        func failure(_ host: String, _ port: Int) -> String {
            do throws(MetricsServerError) {
                try MetricsServer.start(host: host, port: port) { _ in Response(text: "") }.stop()
                return ""
            } catch {
                return "\(error)"
            }
        }
        try withServer { server in
            let taken = failure("127.0.0.1", server.port)
            #expect(
                taken.hasPrefix("cannot listen on 127.0.0.1 port \(server.port): Address already in use (another"),
                "\(taken)")
        }
        #expect(failure("192.0.2.1", 0).contains("Cannot assign requested address (choose an address of this host)"))
        for (host, port) in [("localhost", 9923), ("", 0), ("127.0.0.1", 65536), ("127.0.0.1", -1)] {
            #expect(failure(host, port).contains("no IP address and port"))
        }
    }

    /// An answer in progress is ended, idle connections are closed, and the port is free at once.
    @Test func stopping() throws {
        let server = try MetricsServer.start(port: 0) { _ in Response(text: String(repeating: "x", count: 8 << 20)) }
        let resting = try HTTPConnection(port: server.port)
        resting.send("GET /metrics HTTP/1.1\r\n")
        let reading = try HTTPConnection(port: server.port)
        reading.send("GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
        var first = [UInt8](repeating: 0, count: 1)
        try #require(recv(reading.descriptor, &first, 1, Int32(MSG_PEEK)) == 1)
        let stopper = try Namespace.thread { server.stop() }
        var count = 0
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let part = recv(reading.descriptor, &buffer, buffer.count, 0)
            if part <= 0 { break }
            count += part
        }
        stopper.join()
        #expect(count > 8 << 20)
        #expect(try resting.rest() == "")
        let again = try MetricsServer.start(port: server.port) { _ in Response(text: "again") }
        #expect(try HTTPConnection.get("/metrics", port: again.port).body == "again")
        again.stop()
    }
}
