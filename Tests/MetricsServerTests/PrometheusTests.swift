import Controller
import Exposition
import Glibc
import JSON
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

    /// docs/metrics.md: Prometheus accepts its example, and it describes each metric.
    @Test func theDocumentationHolds() throws {
        let text = TextFile.read(Checkout.path + "/docs/metrics.md")
        let blocks = text.components(between: "```yaml\n", and: "```")
        try #require(blocks.count == 1)
        try withFolder { folder in
            try TextFile.write(blocks[0], to: folder + "/prometheus.yml")
            let config = try promtool("check config \(folder)/prometheus.yml")
            #expect(config.exitCode == 0, "\(config.output)\(config.errors)")
        }
        let names = try PrometheusTests.names()
        #expect(names.count > 15)
        for name in names { #expect(text.contains("| `\(name)` |"), "docs/metrics.md says nothing of \(name)") }
    }

    /// The metrics that there are.
    private static func names() throws -> [Substring] {
        let page = String(decoding: try page(), as: UTF8.self)
        return page.split(separator: "\n").filter { $0.hasPrefix("# TYPE ") }.map { $0.split(separator: " ")[2] }
    }

    private static let folder = Checkout.path + "/packaging/prometheus"

    /// Each alert fires in one case and is silent in another, and names no metric that there is not.
    @Test func theAlertsFireAndStaySilent() throws {
        let rules = TextFile.read(PrometheusTests.folder + "/fdbsteer.rules.yml")
        let check = try promtool("check rules \(PrometheusTests.folder)/fdbsteer.rules.yml")
        #expect(check.exitCode == 0, "\(check.output)\(check.errors)")
        let cases = try promtool("test rules \(PrometheusTests.folder)/fdbsteer.rules.test.yml")
        #expect(cases.exitCode == 0, "\(cases.output)\(cases.errors)")
        let alerts = rules.components(between: "- alert: ", and: "\n")
        let text = TextFile.read(PrometheusTests.folder + "/fdbsteer.rules.test.yml")
        #expect(alerts.count > 10)
        for alert in alerts {
            #expect(text.contains("'\(alert) fires'") && text.contains("'\(alert) is silent "), "\(alert)")
            #expect(text.contains("alertname: \(alert), exp_alerts: []"), "\(alert) in a healthy migration")
        }
        let names = try PrometheusTests.names()
        let used = rules.split { !($0.isLetter || $0 == "_") }.filter { $0.hasPrefix("fdbsteer_") }
        for name in used { #expect(names.contains(name), "no metric \(name)") }
    }

    /// Every query of the Grafana dashboard is one that Prometheus answers, with data where the page has some.
    @Test func theDashboardsQueriesAreAnswered() throws {
        let dashboard = try #require(JSON(text: TextFile.read(Checkout.path + "/packaging/grafana/fdbsteer.json")))
        let panels = dashboard["panels"]?.elements ?? []
        let queries = panels.flatMap { $0["targets"]?.elements ?? [] }.compactMap { $0["expr"]?.text }
        #expect(queries.count >= panels.count && panels.count > 10)
        let documentation = TextFile.read(Checkout.path + "/docs/metrics.md")
        for name in queries.joined(separator: " ").split(whereSeparator: { !($0.isLetter || $0 == "_") })
        where name.hasPrefix("fdbsteer_") {
            let family = name.hasSuffix("_bucket") ? name.dropLast(7) : name
            #expect(documentation.contains("| `\(family)` |"), "no metric \(name)")
        }
        try PrometheusTests.running(try PrometheusTests.page()) {
            #expect(answers(to: "fdbsteer_build_info").contains("\"1\"]"))
            for query in queries {
                let answer = try ask(query.replacing("$instance", with: ".*"))
                #expect(answer.contains("\"status\":\"success\""), "\(query): \(answer)")
                // Rates need two scrapes, and some metrics are of guests that the page has not.
                let isOfAll = !query.contains("[") && !query.contains("guest") && !query.contains("bracket_opened")
                #expect(!isOfAll || answer.contains("\"value\":["), "\(query): \(answer)")
            }
        }
    }

    @Test func prometheusScrapesAndAnswers() throws {
        try PrometheusTests.running(try PrometheusTests.page()) {
            #expect(answers(to: "fdbsteer_primary_losses_total").contains("\"7\"]"))
            let buckets = answers(to: "fdbsteer_signal_wait_seconds_bucket{le=\"0.005\",signal=\"qmp\"}")
            #expect(buckets.contains("\"1\"]"), "\(buckets)")
            #expect(answers(to: "up{job=\"fdbsteer\"}").contains("\"1\"]"))
        }
    }

    /// Runs `body` while a Prometheus scrapes a page, in a network namespace of its own.
    private static func running(_ page: [UInt8], _ body: @escaping @Sendable () throws -> Void) throws {
        try Namespace.run {
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
                    var failure: (any Error)?
                    do { try body() } catch let thrown { failure = thrown }
                    kill(prometheus.process, SIGTERM)
                    _ = prometheus.wait()
                    if let failure { throw failure }
                }
            }
        }
    }

    /// The answer of Prometheus to a query, once there is one: it has to start and to scrape first. Empty after a minute.
    private func answers(to query: String) -> String {
        for _ in 0..<600 {
            let answer = (try? ask(query)) ?? ""
            if answer.contains("\"value\":[") { return answer }
            usleep(100_000)
        }
        return ""
    }

    /// The answer of Prometheus to a query.
    private func ask(_ query: String) throws -> String {
        let escaped = query.utf8.map { byte in
            let isPlain = (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
            let digits = String(byte, radix: 16)
            return isPlain ? String(UnicodeScalar(byte)) : "%" + (digits.count < 2 ? "0" : "") + digits
        }.joined()
        let client = try HTTPConnection(port: 9090)
        client.send("GET /api/v1/query?query=\(escaped) HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        return try client.rest()
    }
}

private func withFolder(_ body: (String) throws -> Void) throws {
    let folder = try TemporaryFolder()
    defer { folder.remove() }
    try body(folder.path)
}
