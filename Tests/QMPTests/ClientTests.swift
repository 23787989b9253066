import Glibc
import JSON
import Lab
import QMP
import Testing

/// The client against a peer that the test controls: every step is explicit, and nothing waits.
@Suite struct ClientTests {
    /// The observable state of a client, for expectations: a macro cannot hold the client itself.
    private func look(_ client: borrowing QMPClient) -> (
        isConnected: Bool, descriptor: Int32?, deadline: Int64?, wantsWrite: Bool
    ) {
        (client.isConnected, client.descriptor, client.nextDeadline, client.pollEvents & Int16(POLLOUT) != 0)
    }

    private func advance(_ client: inout QMPClient, _ now: Int64 = 1) -> [QMPClient.Happening] {
        var told: [QMPClient.Happening] = []
        client.advance(now: now) { told.append($0) }
        return told
    }

    private func negotiate(_ client: inout QMPClient, _ monitor: FakeMonitor, now: Int64 = 1) {
        _ = advance(&client, now)
        monitor.accept()
        monitor.say(FakeMonitor.greeting)
        _ = advance(&client, now)
        monitor.say("{\"return\": {}, \"id\": 1}\n")
        _ = advance(&client, now)
    }

    @Test func asksHowThingsStandBeforeItTellsOfEvents() throws {
        let monitor = try FakeMonitor()
        var client = QMPClient(path: monitor.path, now: 1)
        negotiate(&client, monitor)
        let asked = monitor.heard()
        #expect(
            asked.map { JSON(text: $0)?["execute"]?.text }
                == ["qmp_capabilities", "query-status", "query-migrate", "query-rx-filter"])
        // An event that an answer includes is not reported after it again; an event that no answer includes is.
        monitor.say(
            """
            {"event": "STOP"}
            {"event": "MIGRATION", "data": {"status": "wait-unplug"}}
            {"event": "FAILOVER_NEGOTIATED", "data": {"device-id": "net1"}}
            {"return": {"status": "running", "running": true}, "id": 2}
            {"event": "RESUME"}
            {"return": {"status": "active"}, "id": 3}
            {"return": [{"name": "net1", "main-mac": "52:54:00:00:00:01", "promiscuous": false, "vlan": "normal",
            """)
        var told = advance(&client)
        #expect(told.isEmpty)
        monitor.say(
            "\"unicast-table\": [\"52:54:00:00:00:02\"], \"vlan-table\": [0, 100]}], \"id\": 4}\n{\"event\": \"RESET\"}\n"
        )
        told = advance(&client)
        guard case .connected(let situation) = told.first else {
            Issue.record("\(told)")
            return
        }
        #expect(situation.isRunning && situation.migration == .active && situation.version == "9.1.0")
        #expect(situation.filters.first?.unicast == ["52:54:00:00:00:02"])
        #expect(situation.filters.first?.vlans == [0, 100])
        let events = told.dropFirst().map { if case .event(let event) = $0 { event.name.rawValue } else { "\($0)" } }
        #expect(events == ["FAILOVER_NEGOTIATED", "RESUME", "RESET"])
        let end = look(client)
        #expect(end.isConnected && end.deadline == nil)
    }

    private func answer(_ monitor: FakeMonitor, from id: Int = 2) {
        monitor.say("{\"return\": {\"status\": \"running\"}, \"id\": \(id)}\n{\"return\": {}, \"id\": \(id + 1)}\n")
        monitor.say("{\"error\": {\"class\": \"GenericError\", \"desc\": \"no NIC\"}, \"id\": \(id + 2)}\n")
    }

    @Test func repliesAndRefusalsGoToWhoAsked() throws {
        let monitor = try FakeMonitor()
        var client = QMPClient(path: monitor.path, now: 1)
        var id = client.send("stop")
        #expect(id == nil)
        negotiate(&client, monitor)
        answer(monitor)
        var told = advance(&client)
        #expect(told == [.connected(QMPSituation(version: "9.1.0", runState: "running"))])
        id = client.send("announce-self", arguments: .object([.init("rounds", .integer(3))]))
        let sent = try #require(id)
        let line = monitor.heard().last
        #expect(line == #"{"execute":"announce-self","id":\#(sent),"arguments":{"rounds":3}}"#)
        monitor.say("{\"return\": {}, \"id\": 999}\n{\"return\": {}, \"id\": \(sent)}\n")
        told = advance(&client)
        #expect(told == [.reply(id: sent, .success(.object([])))])
        // QEMU reports a filter's change once, and not again before a query.
        monitor.say("{\"event\": \"NIC_RX_FILTER_CHANGED\", \"data\": {\"name\": \"net1\"}}\n")
        told = advance(&client)
        #expect(told.count == 1)
        client.askForFilters()
        client.askForFilters()
        let question = try #require(JSON(text: monitor.heard().last ?? ""))
        #expect(question["execute"]?.text == "query-rx-filter")
        monitor.say(
            "{\"return\": [{\"name\": \"net1\", \"main-mac\": \"52:54:00:00:00:09\"}], \"id\": \(question["id"]?.integer ?? 0)}\n"
        )
        guard case .filters(let filters) = advance(&client).first else {
            Issue.record("no filters")
            return
        }
        #expect(filters.map(\.mainMAC) == ["52:54:00:00:00:09"])
    }

    @Test func comesBackByItselfAndAsksAgain() throws {
        let monitor = try FakeMonitor()
        var client = QMPClient(path: monitor.path, now: 1)
        negotiate(&client, monitor)
        answer(monitor)
        var told = advance(&client)
        #expect(told.count == 1)
        monitor.hangUp()
        guard case .disconnected(let error) = advance(&client, 1000).first else {
            Issue.record("not told")
            return
        }
        #expect(error.code == .closed)
        #expect(look(client).descriptor == nil)
        let pause = look(client).deadline ?? 0
        #expect(pause > 1000)
        told = advance(&client, pause - 1)
        #expect(told.isEmpty)
        #expect(look(client).descriptor == nil)
        negotiate(&client, monitor, now: pause)
        answer(monitor)
        told = advance(&client, pause)
        #expect(told.count == 1)
        #expect(look(client).isConnected)
    }

    @Test func aMissingSocketIsToldOnce() {
        var client = QMPClient(path: "/nonexistent/qmp", now: 0)
        guard case .disconnected(let error) = advance(&client, 0).first else {
            Issue.record("not told")
            return
        }
        #expect(error.code == .unreachable && error.message.contains("/nonexistent/qmp"))
        let again = advance(&client, 1_000_000_000_000)
        #expect(again.isEmpty)
        var long = QMPClient(path: String(repeating: "x", count: 200), now: 0)
        let told = advance(&long, 0)
        #expect(told.count == 1)
    }

    @Test func aMonitorThatDoesNotAnswerIsGivenUp() throws {
        let monitor = try FakeMonitor()
        var client = QMPClient(path: monitor.path, now: 0)
        _ = advance(&client, 0)
        monitor.accept()
        // Why nothing is heard is known long before it is given up.
        let soon = look(client).deadline ?? .max
        var failure = client.failure
        #expect(soon <= 500_000_000 && failure == nil)
        let told = advance(&client, soon)
        failure = client.failure
        #expect(told.isEmpty && failure?.code == .busy, "\(told)")
        #expect(look(client).deadline == QMPClient.patience)
        guard case .disconnected(let error) = advance(&client, QMPClient.patience).first else {
            Issue.record("not told")
            return
        }
        #expect(error.code == .busy && !error.isFinal)
    }

    @Test func asksAgainOnTheSameConnection() throws {
        let monitor = try FakeMonitor()
        var client = QMPClient(path: monitor.path, now: 1)
        negotiate(&client, monitor)
        answer(monitor)
        var told = advance(&client)
        _ = monitor.heard()
        client.askAgain(now: 5)
        client.askAgain(now: 5)
        let asked = monitor.heard().map { JSON(text: $0)?["execute"]?.text }
        #expect(asked == ["query-status", "query-migrate", "query-rx-filter"])
        monitor.say("{\"event\": \"RESET\"}\n{\"return\": {\"status\": \"paused\"}, \"id\": 5}\n")
        told = advance(&client)
        #expect(told.isEmpty)
        monitor.say("{\"return\": {}, \"id\": 6}\n{\"return\": [], \"id\": 7}\n")
        told = advance(&client)
        #expect(
            told == [
                .connected(QMPSituation(version: "9.1.0", runState: "paused")),
                .event(QMPEvent(QMPEvent.Name(rawValue: "RESET"))),
            ])
    }

    @Test func aPathWhereNobodyListensIsFinal() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        try TextFile.write("", to: folder.path + "/file")
        for (path, words) in [
            (folder.path + "/file", "nobody listens there"), (folder.path + "/none", "No such file"),
            (folder.path, "nobody listens"),
        ] {
            var client = QMPClient(path: path, now: 0)
            _ = advance(&client, 0)
            let failure = client.failure
            #expect(
                failure?.isFinal == true && failure?.message.contains(words) == true,
                "\(path): \(failure?.message ?? "")")
        }
    }

    @Test(arguments: [
        "HTTP/1.1 400 Bad Request\n", "{\"return\": {}}\n", "{}\n", "\u{0}\u{0}\n",
        FakeMonitor.greeting + FakeMonitor.greeting,
        FakeMonitor.greeting + "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n",
        FakeMonitor.greeting + "{\"event\": \"STOP\"\n",
    ])
    func aPeerThatIsNoMonitorIsLeft(words: String) throws {
        let monitor = try FakeMonitor()
        var client = QMPClient(path: monitor.path, now: 0)
        _ = advance(&client, 0)
        monitor.accept()
        monitor.say(words)
        guard case .disconnected(let error) = advance(&client, 1).first else {
            Issue.record("not told")
            return
        }
        #expect([.malformed, .refused].contains(error.code))
    }

    @Test func anEndlessLineIsBounded() throws {
        let monitor = try FakeMonitor()
        var client = QMPClient(path: monitor.path, now: 0)
        _ = advance(&client, 0)
        monitor.accept()
        monitor.say(FakeMonitor.greeting)
        _ = advance(&client, 0)
        let part = String(repeating: "x", count: 16384)
        var told: [QMPClient.Happening] = []
        for _ in 0..<160 where told.isEmpty {
            monitor.say(part)
            told = advance(&client, 1)
        }
        guard case .disconnected(let error) = told.first else {
            Issue.record("not told after 2.5 MB")
            return
        }
        #expect(error.message.contains("more than 1048576 bytes"))
    }

    /// Others have their turn, whatever a monitor says, and nothing is lost.
    @Test func aTurnReadsSoMuchAndNoMore() throws {
        let monitor = try FakeMonitor()
        var client = QMPClient(path: monitor.path, now: 0)
        negotiate(&client, monitor)
        answer(monitor)
        _ = advance(&client)
        let event = #"{"event": "RTC_CHANGE", "data": {"offset": 1}}"# + "\n"
        let long = #"{"event": "RTC_CHANGE", "data": ["# + String(repeating: "1,", count: 10_000) + "1]}\n"
        monitor.say(String(repeating: event, count: 1000) + long + event)
        var turns: [Int] = []
        for _ in 0..<20 { turns.append(advance(&client).count) }
        #expect(turns.reduce(0, +) == 1001, "\(turns)")
        #expect(turns.allSatisfy { $0 <= 16384 / event.utf8.count + 1 }, "\(turns)")
    }

    @Test func commandsWaitForAPeerThatDoesNotRead() throws {
        let monitor = try FakeMonitor()
        var client = QMPClient(path: monitor.path, now: 0)
        negotiate(&client, monitor)
        answer(monitor)
        _ = advance(&client)
        let ballast = JSON.object([.init("x", .string(String(repeating: "y", count: 60000)))])
        var sent = 0
        while !look(client).wantsWrite, sent < 100, client.send("x", arguments: ballast) != nil { sent += 1 }
        #expect(look(client).wantsWrite)
        while client.send("x", arguments: ballast) != nil, sent < 100 { sent += 1 }
        #expect(sent < 40, "\(sent) commands were kept for a peer that does not read")
    }
}
