import Controller
import JSON
import Policy
import Records
import Synchronization
import System

extension Method {
    /// The verbs that go on until the client goes.
    static let streaming: [Method] = [
        verb(
            "Monitor",
            """
            What happens to guests, with who did it and why: each reply is an event, as
            docs/json.md has it. last: begin with so many that were there before. At the end
            of duration there is an empty one.
            """,
            Parameter.guests + [Parameter("last", .int), Parameter("duration", .string)], streams: true
        ) { exchange throws(ControllerError) in
            let names = Set(try exchange.parameters.guests().map(\.text))
            let last = Int(try exchange.parameters.number("last", in: 0...10_000, default: 0))
            let stream = try Stream(exchange)
            func show(_ event: LoggedEvent) {
                guard names.isEmpty || names.contains(event.text("guest") ?? ""),
                    let object = try? JSON(encoding: EventView(event))
                else { return }
                var line: [UInt8] = []
                object.write(to: &line)
                stream.send(line)
            }
            var tail = try EventTail(exchange.folder, last: last, show)
            // A folder that is not there yet cannot be watched: it is looked for once a second.
            repeat { try tail.read(show) } while stream.wait(for: tail.descriptor, atMost: 1_000_000_000)
            return Answer(object: .object([]))
        },
        verb(
            "Watch",
            """
            Each move of a MAC between the ports of a bridge, or of all: each reply is an event.
            The last, after duration, is the summary. Four at a time.
            """,
            [Parameter("bridge", .string), Parameter("quiet", .bool), Parameter("duration", .string)], streams: true
        ) { exchange throws(ControllerError) in
            guard watches.add(1, ordering: .relaxed).newValue <= 4 else {
                watches.subtract(1, ordering: .relaxed)
                throw ControllerError(.busy, "four clients watch bridges already", remedy: "end one")
            }
            defer { watches.subtract(1, ordering: .relaxed) }
            return try exchange.watch()
        },
    ]

    private static let watches = Atomic<Int>(0)
}

extension Exchange {
    fileprivate func watch() throws(ControllerError) -> Answer {
        let stream = try Stream(self)
        let isQuiet = parameters.flag("quiet")
        let kept = try self.host()
        var watch = try MoveWatch(bridge: parameters.text("bridge"), on: &kept.host)
        let begin = monotonicNanoseconds()
        while stream.wait(for: watch.descriptor, atMost: 3_600_000_000_000) {
            var events: [Moves.Event] = []
            _ = try watch.hear(on: &kept.host) { if !isQuiet { events.append($0) } }
            for event in events {
                var line: [UInt8] = []
                watch.json(event).write(to: &line)
                stream.send(line)
            }
        }
        return Answer(object: watch.summary(seconds: Double(monotonicNanoseconds() - begin) / 1e9, naming: 10))
    }
}

/// Replies that go on until the client has gone or takes none, its time is over, or the daemon ends.
private final class Stream {
    private let connection: Connection
    /// On CLOCK_MONOTONIC in nanoseconds.
    private let end: Int64
    private var isBroken = false

    init(_ exchange: Exchange) throws(ControllerError) {
        connection = exchange.connection
        let duration = try exchange.parameters.duration(
            "duration", default: .max, atMost: 365 * 24 * 3_600_000_000_000)
        end = duration == .max ? .max : monotonicNanoseconds() + duration
    }

    /// - Parameter line: an object, as JSON.
    func send(_ line: [UInt8]) {
        if !isBroken, !connection.send(Reply.bytes(event: line)) { isBroken = true }
    }

    /// Waits until a descriptor has input, at most so long.
    ///
    /// - Returns: false when the stream is over.
    func wait(for descriptor: Int32, atMost pause: Int64) -> Bool {
        let left = end == .max ? .max : end - monotonicNanoseconds()
        return !isBroken && left > 0 && connection.wait(beside: descriptor, atMost: min(left, pause))
    }
}
