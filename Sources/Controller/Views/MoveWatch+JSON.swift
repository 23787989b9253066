import FDB
package import JSON
package import Policy
import System

extension MoveWatch {
    /// The object of an event.
    package mutating func json(_ event: Moves.Event) -> JSON {
        func members(_ event: String, _ time: Int64) -> [JSON.Member] {
            [.init("event", .string(event))] + JSON.Time(wrappedValue: time).members(named: "time")
        }
        switch event {
        case .moved(let move):
            var members = members("move", move.time)
            members += [
                .init("bridge", .string(name(move.bridge))), .init("address", .string("\(move.address)")),
                .init("from_port", .string(name(move.from))), .init("port", .string(name(move.to))),
                .init("origin", .string(move.origin.rawValue)),
                .init("origin_before", .string(move.originBefore.rawValue)), .init("stay_ns", .integer(move.stay)),
                .init("gap_ns", .integer(move.gap)), .init("moves", .integer(Int64(move.number))),
                .init("flap", .bool(move.isFlap)),
            ]
            if let early = move.early {
                members += [.init("early_ago_ns", .integer(early.ago)), .init("early_stay_ns", .integer(early.stay))]
            }
            return .object(members)
        case .second(let bridge, let address, let port, let origin, let other, let otherPort):
            var members = members("second_port", Stopwatch.realTime)
            members += [
                .init("bridge", .string(name(bridge))), .init("address", .string("\(address)")),
                .init("port", .string(name(port))), .init("origin", .string(origin.rawValue)),
                .init("other_address", .string("\(other)")), .init("other_port", .string(name(otherPort))),
            ]
            return .object(members)
        }
    }

    /// The object at the end.
    ///
    /// - Parameters:
    ///   - seconds: for how long it was watched.
    ///   - most: the most addresses that it names, the busiest first.
    package mutating func summary(seconds: Double, naming most: Int) -> JSON {
        let moves = moves
        let origins = Moves.Origin.allCases.map { JSON.Member($0.rawValue, .integer(Int64(moves.moves[$0] ?? 0))) }
        var macs: [JSON] = []
        for count in moves.busiest(most) {
            macs.append(
                .object([
                    .init("bridge", .string(name(count.bridge))), .init("address", .string("\(count.address)")),
                    .init("port", .string(count.port.map { name($0) } ?? "")),
                    .init("moves", .integer(Int64(count.moves))), .init("flaps", .integer(Int64(count.flaps))),
                    .init("spoke_early", .bool(count.wasEarly)),
                ]))
        }
        return .object([
            .init("event", .string("summary")), .init("watched_ns", .integer(Int64(seconds * 1e9))),
            .init("changes", .integer(Int64(moves.changes))), .init("moves", .integer(Int64(moves.total))),
            .init("moves_by_origin", .object(origins)), .init("flaps", .integer(Int64(moves.flaps))),
            .init("second_ports", .integer(Int64(moves.seconds))),
            .init("address_count", .integer(Int64(moves.movers))),
            .init("notifications_lost", .integer(Int64(overruns))), .init("addresses", .array(macs)),
        ])
    }
}
