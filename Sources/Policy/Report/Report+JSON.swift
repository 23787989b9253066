import JSON
import Switchdev

/// Reports as JSON, made by hand: the answer of a call has one, and a general encoder takes a tenth of the whole call for it
/// (docs/performance.md). Members are in alphabetical order, as ``JSON/init(encoding:)`` has them.
extension Report {
    public func encode(to encoder: any Encoder) throws {
        var members: [JSON.Member] = []
        members.reserveCapacity(26)
        func add(_ name: String, _ value: JSON) { members.append(.init(name, value)) }
        func add(_ name: String, texts: [String]) { add(name, .array(texts.map { .string($0) })) }
        add("addresses", .array(addresses.map(\.json)))
        if let bracket { add("bracket", try JSON(encoding: bracket)) }
        add("bridge", .string(bridge))
        if let evidence { add("evidence", evidence.json) }
        add("failures", texts: failures)
        add("findings", .array(try findings.map { try JSON(encoding: $0) }))
        add("from", .string(from.rawValue))
        if let groupMembershipsMoved { add("group_memberships_moved", .count(Int64(groupMembershipsMoved))) }
        add("guest", .string(guest))
        if let messages { add("messages", .array(try messages.map { try JSON(encoding: $0) })) }
        add("notes", texts: notes)
        add("outcome", .string(outcome.rawValue))
        if let proof { add("proof", .string(proof)) }
        add("proof_required", .bool(proofRequired))
        if let proofStatus { add("proof_status", .string(proofStatus.rawValue)) }
        add("refusals", texts: refusals)
        add("repairs", .count(Int64(repairs)))
        if let sighting { add("sighting", try JSON(encoding: sighting)) }
        add("strategy", .string(strategy.rawValue))
        if time != 0 { members += JSON.Time(wrappedValue: time).members(named: "time") }
        add("timings", timings.json)
        add("to", .string(to.rawValue))
        add("verb", .string(verb.rawValue))
        add("waived", .array(try waived.map { try JSON(encoding: $0) }))
        try JSON.object(members).encode(to: encoder)
    }
}

extension Report.AddressResult {
    public func encode(to encoder: any Encoder) throws { try json.encode(to: encoder) }

    fileprivate var json: JSON {
        var members = [JSON.Member("address", .string(address))]
        members.reserveCapacity(5)
        if let error { members.append(.init("error", .string(error))) }
        if let fromPort { members.append(.init("from_port", .string(fromPort))) }
        members.append(.init("port", .string(port)))
        members.append(.init("primitive", .string(primitive)))
        return .object(members)
    }
}

extension Report.Timings {
    public func encode(to encoder: any Encoder) throws { try json.encode(to: encoder) }

    fileprivate var json: JSON {
        .object([
            .init("journal_ns", .count(journalNanoseconds)), .init("move_ns", .count(moveNanoseconds)),
            .init("proof_ns", .count(proofNanoseconds)), .init("total_ns", .count(totalNanoseconds)),
            .init("verify_ns", .count(verifyNanoseconds)), .init("writes_begin_ns", .count(writesBeginNanoseconds)),
            .init("writes_end_ns", .count(writesEndNanoseconds)),
        ])
    }
}

extension Evidence {
    public func encode(to encoder: any Encoder) throws { try json.encode(to: encoder) }

    fileprivate var json: JSON {
        .object([
            .init("became_quiet", .bool(becameQuiet)), .init("from", .string(from.rawValue)),
            .init("observed_ns", .count(observedNanoseconds)), .init("ports", .array(ports.map(\.json))),
            .init("proof_ns", .count(proofNanoseconds)), .init("to", .string(to.rawValue)),
        ])
    }
}

extension Evidence.Port {
    fileprivate var json: JSON {
        var moments: [JSON.Member] = []
        moments.reserveCapacity(3)
        for moment in [Evidence.Moment.after, .before, .moved] {
            if let counters = counters[moment] { moments.append(.init(moment.rawValue, counters.json)) }
        }
        return .object([
            .init("counters", .object(moments)), .init("name", .string(name)), .init("side", .string(side.rawValue)),
        ])
    }
}

extension PortCounters {
    fileprivate var json: JSON {
        .object([
            .init("rx_dropped", .count(Int64(clamping: rxDropped))),
            .init("rx_packets", .count(Int64(clamping: rxPackets))),
            .init("tx_dropped", .count(Int64(clamping: txDropped))),
            .init("tx_packets", .count(Int64(clamping: txPackets))),
        ])
    }
}
