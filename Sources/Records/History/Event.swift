import Glibc
import JSON
package import Policy

/// What events are, as the log's lines spell it. A further kind needs a case, and members for its lines; readers pass over kinds
/// that they do not know.
package enum EventKind: String, CaseIterable {
    /// The first line of each file, which tells it from every other.
    case log
    /// A verb changed something, or tried to.
    case redirection
    /// A verb was refused before it changed anything.
    case refused
    /// A signal did not come in time.
    case timeout
    /// The daemon cannot make a guest as intended.
    case condition
    /// A guest is as intended again.
    case conditionOver = "condition_over"
    /// What a guest missed while it migrated was sent again, or not.
    case replay

    /// The size in bytes above which no reader takes a line.
    static let limit = 1 << 20

    /// The line of an event, with a newline before it and one after it. It is made by hand: a general encoder would look for
    /// conformances, which a process that lives for one redirection has to pay for.
    ///
    /// - Parameters:
    ///   - time: in nanoseconds since 1970. A process cannot have two events of the same nanosecond, so it makes the line unique.
    ///   - members: what events of this kind have.
    func line(_ time: Int64, _ members: [JSON.Member] = []) -> [UInt8] {
        var line = [UInt8(ascii: "\n")]
        let event = JSON.object(
            [
                .init("event", .string(rawValue)), .init("time_ns", .integer(time)),
                .init("id", .string("\(time)-\(getpid())")),
            ] + members)
        event.write(to: &line)
        line.append(UInt8(ascii: "\n"))
        return line
    }
}

extension ReplayAccount {
    /// What it has come to, in words.
    var words: String {
        if let refusal { return "what it missed is not sent again: \(refusal)" }
        return "what it missed was sent again: \(sent) of \(kept) frames, \(dropped) dropped"
    }

    /// The members of its event beside those that all have.
    var members: [JSON.Member] {
        let part = JSON.Member("part", .string(part.rawValue))
        if refusal != nil { return [part] }
        return [
            part, .init("kept", .integer(Int64(kept))), .init("sent", .integer(Int64(sent))),
            .init("dropped", .integer(Int64(dropped))), .init("after_ns", .integer(delay)),
        ]
    }
}

extension Report {
    /// The line of a redirection. Results that would make it longer than a reader takes are left out.
    package func eventLine(by doer: Doer) -> [UInt8] {
        let line = eventLine(addresses, notes, doer)
        if line.count <= EventKind.limit { return line }
        return eventLine(
            [], ["the results of \(addresses.count) addresses are too long for the history"], doer)
    }

    private func eventLine(_ results: [AddressResult], _ notes: [String], _ doer: Doer) -> [UInt8] {
        var members: [JSON.Member] = [
            .init("guest", .string(guest)), .init("verb", .string(verb.rawValue)),
            .init("from", .string(from.rawValue)), .init("to", .string(to.rawValue)),
            .init("strategy", .string(strategy.rawValue)),
            .init("outcome", .string(outcome.rawValue)), .init("move_ns", .integer(timings.moveNanoseconds)),
            .init("total_ns", .integer(timings.totalNanoseconds)), .init("bridge", .string(bridge)),
            .init("by", .string(doer.label)), .init("uid", .integer(doer.user)),
        ]
        if let bracketChange { members.append(.init("bracket_change", .string(bracketChange.rawValue))) }
        if let proof { members.append(.init("proof", .string(proof))) }
        if !failures.isEmpty { members.append(.init("message", .string(failures.joined(separator: "; ")))) }
        if let sighting {
            members.append(.init("signal", .string(sighting.signal)))
            members.append(.init("waited_ns", .integer(sighting.waitedNanoseconds)))
        }
        if let evidence { members.append(.init("evidence", .string(evidence.record))) }
        let notes = notes + findings.map { $0.headline } + waived.map { "waived: \($0.headline)" }
        members.append(.init("results", .array(Report.groups(results))))
        members.append(.init("notes", .array(notes.map { .string($0) })))
        return EventKind.redirection.line(time, members)
    }

    /// Most addresses went to one port with one primitive.
    private static func groups(_ results: [AddressResult]) -> [JSON] {
        var groups: [JSON] = []
        var rest = results[...]
        while let first = rest.first {
            let group = rest.prefix {
                $0.primitive == first.primitive && $0.port == first.port && $0.error == first.error
            }
            rest = rest.dropFirst(group.count)
            var members: [JSON.Member] = [
                .init("primitive", .string(first.primitive)), .init("port", .string(first.port)),
                .init("addresses", .array(group.map { .string($0.address) })),
            ]
            if let error = first.error { members.append(.init("error", .string(error))) }
            groups.append(.object(members))
        }
        return groups
    }
}
