import Controller
import Exposition
import Glibc
import Lab
import MetricsServer
import Policy
import Records
import TestSupport
import Testing

private let obstacle = Namespace.obstacle
private let noPrometheus = Unpacked.obstacle("prometheus", programs: ["/usr/bin/prometheus", "/usr/bin/promtool"])

private func promtool(_ words: String) throws -> Command {
    try Command.run(Unpacked.command("prometheus", ["sh", "-c", "promtool \(words)"]))
}

/// Compares with the real peers: promtool's linter, and a Prometheus that scrapes and answers a query.
@Suite(
    .enabled(if: noPrometheus == nil, "\(noPrometheus ?? "")"),
    .enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct PrometheusTests {
    /// The whole page: the metrics that need no daemon, and those that the daemon counts.
    private static func page() throws -> [UInt8] {
        var reader = MetricsReader(folder: StateFolder("/nonexistent"))
        var counters = DaemonCounters(startedAt: 1_700_000_000_000_000_000)
        counters.countWait(for: "qmp", nanoseconds: 3_000_000)
        counters.qmpConnected[try GuestID("vm1")] = true
        counters.primaryLosses = 7
        return Exposition.render(try reader.read() + counters.families)
    }

    @Test func promtoolFindsNothing() throws {
        let page = try PrometheusTests.page()
        try withServer(answer: { _ in Response(contentType: Exposition.contentType, body: page) }) { server in
            let scraped = try HTTPConnection.get("/metrics", port: server.port)
            #expect(scraped.head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"))
            try withFolder { folder in
                let file = folder + "/page"
                try TextFile.write(scraped.body, to: file)
                let check = try promtool("check metrics < \(file)")
                #expect(check.exitCode == 0 && check.errors.isEmpty, "\(check.output)\(check.errors)")
                // The linter does detect faults.
                try TextFile.write(String(scraped.body.dropLast()), to: file)
                #expect(try promtool("check metrics < \(file)").exitCode != 0)
            }
        }
    }

    /// docs/metrics.md: Prometheus accepts its examples, and it describes each metric.
    @Test func theDocumentationHolds() throws {
        let text = TextFile.read(Checkout.path + "/docs/metrics.md")
        let blocks = text.components(between: "```yaml\n", and: "```")
        try #require(blocks.count == 2)
        try withFolder { folder in
            try TextFile.write(blocks[0], to: folder + "/prometheus.yml")
            let config = try promtool("check config \(folder)/prometheus.yml")
            #expect(config.exitCode == 0, "\(config.output)\(config.errors)")
            try TextFile.write(blocks[1], to: folder + "/rules.yml")
            let rules = try promtool("check rules \(folder)/rules.yml")
            #expect(rules.exitCode == 0, "\(rules.output)\(rules.errors)")
        }
        let page = String(decoding: try PrometheusTests.page(), as: UTF8.self)
        let names = page.split(separator: "\n").filter { $0.hasPrefix("# TYPE ") }.map { $0.split(separator: " ")[2] }
        #expect(names.count > 15)
        for name in names { #expect(text.contains("| `\(name)` |"), "docs/metrics.md says nothing of \(name)") }
        let used = blocks[1].split { !($0.isLetter || $0 == "_") }.filter { $0.hasPrefix("fdbsteer_") }
        for name in used { #expect(names.contains(name), "no metric \(name)") }
    }

    @Test func prometheusScrapesAndAnswers() throws {
        try Namespace.run {
            let page = try PrometheusTests.page()
            let answer: @Sendable (Route) -> Response = { route in
                route == .metrics ? Response(contentType: Exposition.contentType, body: page) : Response(text: "ok\n")
            }
            try withServer(answer: answer) { server in
                try withFolder { folder in
                    try TextFile.write(
                        """
                        global:
                          scrape_interval: 1s
                        scrape_configs:
                          - job_name: fdbsteer
                            static_configs:
                              - targets: ["127.0.0.1:\(server.port)"]

                        """, to: folder + "/prometheus.yml")
                    let words = [
                        "prometheus", "--config.file=\(folder)/prometheus.yml", "--storage.tsdb.path=\(folder)/data",
                        "--web.listen-address=127.0.0.1:9090", "--log.level=warn",
                    ]
                    let prometheus = try RunningCommand(Unpacked.command("prometheus", words))
                    let found = answers(to: "fdbsteer_primary_losses_total")
                    let buckets = answers(
                        to: "fdbsteer_signal_wait_seconds_bucket%7Ble%3D%220.005%22%2Csignal%3D%22qmp%22%7D")
                    let up = answers(to: "up%7Bjob%3D%22fdbsteer%22%7D")
                    kill(prometheus.process, SIGTERM)
                    let end = prometheus.wait()
                    #expect(found.contains("\"7\"]"), "\(found) \(end.errors)")
                    #expect(buckets.contains("\"1\"]"), "\(buckets) \(end.errors)")
                    #expect(up.contains("\"1\"]"), "\(up) \(end.errors)")
                }
            }
        }
    }

    /// The answer of Prometheus to a query, once there is one: it has to start and to scrape first. Empty after a minute.
    private func answers(to query: String) -> String {
        for _ in 0..<600 {
            if let client = try? HTTPConnection(port: 9090) {
                client.send("GET /api/v1/query?query=\(query) HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
                let answer = (try? client.rest()) ?? ""
                if answer.contains("\"value\":[") { return answer }
            }
            usleep(100_000)
        }
        return ""
    }
}

private func withFolder(_ body: (String) throws -> Void) throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    try body(folder.path)
}
