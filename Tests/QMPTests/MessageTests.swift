import JSON
import QMP
import Testing

@Suite struct MessageTests {
    private func message(_ line: String) -> QMPMessage? { Array(line.utf8).withUnsafeBytes { QMPMessage($0) } }

    @Test func greeting() {
        let line =
            #"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": "x"}, "capabilities": ["oob"]}}"#
        #expect(message(line) == .greeting(version: "10.0.2"))
    }

    @Test func replies() {
        #expect(message(#"{"return": {}, "id": 7}"#) == .reply(id: 7, .success(.object([]))))
        guard
            case .reply(8, .failure(let refusal)) = message(
                #"{"id": 8, "error": {"class": "CommandNotFound", "desc": "The command x has not been found"}}"#)
        else {
            Issue.record("no refusal")
            return
        }
        #expect(refusal.description == "The command x has not been found (CommandNotFound)")
        #expect(message(#"{"return": 1, "id": "text"}"#) == .reply(id: nil, .success(.integer(1))))
    }

    @Test func events() {
        guard
            case .event(let event) = message(
                #"{"timestamp": {"seconds": 1700000000, "microseconds": 5}, "event": "MIGRATION", "data": {"status": "wait-unplug"}}"#
            )
        else {
            Issue.record("no event")
            return
        }
        #expect(event.name == .migration)
        #expect(event.time == 1_700_000_000_000_005_000)
        #expect(event.migrationStatus == .waitUnplug)
        guard
            case .event(let negotiated) = message(
                #"{"event": "FAILOVER_NEGOTIATED", "data": {"device-id": "net1"}, "timestamp": {"seconds": -1, "microseconds": -1}}"#
            )
        else {
            Issue.record("no event")
            return
        }
        #expect(negotiated.device == "net1")
        #expect(negotiated.time == nil)
        #expect(negotiated.migrationStatus == nil)
        #expect(QMPEvent(.stop).device == nil)
    }

    @Test(arguments: ["[]", "1", "{}", #"{"event": 1}"#, #"{"evnt": "STOP"}"#, "HTTP/1.1 400 Bad Request"])
    func noMessage(line: String) {
        #expect(message(line) == nil)
    }

    @Test func timesThatDoNotFitAreNone() {
        let line = #"{"event": "STOP", "timestamp": {"seconds": 9223372036854775807, "microseconds": 999999}}"#
        guard case .event(let event) = message(line) else {
            Issue.record("no event")
            return
        }
        #expect(event.time == nil)
    }

    @Test func statusesPastTheUnplug() {
        for status in ["active", "pre-switchover", "device", "postcopy-active", "postcopy-paused"] {
            #expect(MigrationStatus(rawValue: status).isPastUnplug)
        }
        for status in ["none", "setup", "wait-unplug", "cancelling", "cancelled", "failed", "completed"] {
            #expect(!MigrationStatus(rawValue: status).isPastUnplug)
        }
        #expect(MigrationStatus.cancelling.isUnderWay && !MigrationStatus.cancelled.isUnderWay)
    }
}

/// virsh's lines, in the format of the format strings of virsh 9.0.
@Suite struct VirshTests {
    @Test func withTheTimeOfTheEvent() {
        let line = #"event MIGRATION at 1700000000.000005 for domain 'vm 1': {"status":"active"}"#
        let heard = QMPEvent.virsh(line: line)
        #expect(heard?.domain == "vm 1")
        #expect(
            heard?.event
                == QMPEvent(
                    .migration, time: 1_700_000_000_000_005_000, data: .object([.init("status", .string("active"))])))
    }

    @Test func withTheTimeOfTheClient() {
        let line =
            #"2026-01-02 03:04:05.678+0000: event FAILOVER_NEGOTIATED for domain 'vm1': {"device-id":"ua-backup0"}"#
        let heard = QMPEvent.virsh(line: line)
        #expect(heard?.event.name == .failoverNegotiated)
        #expect(heard?.event.device == "ua-backup0")
        #expect(heard?.event.time == nil)
    }

    @Test func withoutDetails() {
        #expect(QMPEvent.virsh(line: "event STOP at 1700000000.5 for domain 'vm1': <null>\n")?.event.name == .stop)
        #expect(QMPEvent.virsh(line: "event STOP at x for domain 'vm1': (null)")?.event == QMPEvent(.stop))
    }

    @Test(arguments: [
        (#"event STOP at 1.5 for domain 'it's': <null>"#, "it's"),
        (#"event STOP at 1.5 for domain 'vm1': x': {}"#, "vm1': x"),
        (#"event STOP at 1.5 for domain 'vm1': {"a': {"b":1}"#, #"vm1': {"a"#),
        (#"event STOP at 1.5 for domain 'vm1': {"path":"a': {}"}"#, "vm1"),
        (#"event STOP for domain 'for domain 'x': {}"#, "for domain 'x"),
    ])
    func aNameMayContainWhatEndsIt(line: String, domain: String) {
        #expect(QMPEvent.virsh(line: line)?.domain == domain)
    }

    @Test func manyQuotesCostNotMoreThanTheirLine() {
        let quotes = String(repeating: "': ", count: 20000)
        #expect(QMPEvent.virsh(line: "event STOP for domain 'vm1\(quotes){}") == nil)
    }

    @Test(arguments: [
        "", "event", "event ", "event STOP", "event STOP for domain 'vm1", "event STOP for domain 'vm1': {",
        "events received: 3",
        "error: failed to get domain", "event loop interrupted",
    ])
    func otherLines(line: String) {
        #expect(QMPEvent.virsh(line: line) == nil)
    }
}

@Suite struct ReconnectionTests {
    @Test func thePauseDoublesUpToItsLimit() {
        var reconnection = Reconnection(now: 5, first: 10, longest: 70)
        #expect(reconnection.nextAttempt == 5)
        var pauses: [Int64] = []
        for _ in 0..<5 {
            reconnection.failed(at: 100)
            pauses.append(reconnection.nextAttempt - 100)
        }
        #expect(pauses == [10, 20, 40, 70, 70])
        for _ in 0..<100 { reconnection.failed(at: 100) }
        #expect(reconnection.nextAttempt == 170)
        reconnection.succeeded()
        reconnection.failed(at: 100)
        #expect(reconnection.nextAttempt == 110)
    }

    @Test func everyPrefixOfAMessageIsHarmless() {
        let line = Array(
            #"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "MIGRATION", "data": {"status": "\u0061ctive"}}"#
                .utf8)
        for count in 0..<line.count {
            #expect(line[..<count].withUnsafeBytes { QMPMessage($0) } == nil)
        }
        #expect(line.withUnsafeBytes { QMPMessage($0) } != nil)
    }
}
