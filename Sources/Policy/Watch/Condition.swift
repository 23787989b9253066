/// Something that is wrong with a prepared guest, for as long as it is so.
package struct Condition: Hashable, Sendable {
    /// Who found it. What one source no longer finds is over, whatever the others find.
    package enum Source: String, Hashable, Sendable, CaseIterable {
        /// The rules about the guest's bridge and ports.
        case rules
        /// The comparison of the table with the record.
        case look
        /// The connection to QEMU's monitor.
        case monitor
        /// The policy that follows QEMU's events.
        case follower
        /// What a control plane makes of the guest's moves.
        case fabric
        /// For how long a bracket has been open.
        case bracket
        /// The comparison of the record with the configuration.
        case configuration
    }

    /// What it means for the guest.
    package enum Severity: String, Hashable, Sendable, CaseIterable, Encodable {
        /// The guest is not as intended.
        case problem
        /// The guest is as intended, and its next redirection would fail.
        case warning
        /// To be known: nobody is called for it.
        case note
    }

    /// The stable word: that of a ``Rule``, or one of those below.
    package let code: String
    /// What it means for the guest.
    package let severity: Severity
    /// The port, bridge, address or socket concerned; empty for the guest as a whole.
    package let subject: String
    /// What is so.
    package let message: String
    /// What to do.
    package let remedy: String

    /// The table cannot be made as the record says.
    package static let notAsIntended = "not-as-intended"
    /// The primary has no carrier, and no bracket could be opened.
    package static let unbracketed = "bracket-refused"
    /// Something undoes the repairs.
    package static let fought = "repairs-fought"
    /// The daemon would change something, and is configured to observe only.
    package static let wouldAct = "would-act"
    /// Frames of an address come in by the uplink, and the guest is here.
    package static let contested = "address-contested"
    /// An address of a guest that is here is on another host.
    package static let elsewhere = "address-elsewhere"
    /// A control plane has an address elsewhere.
    package static let claimed = "address-claimed"
    /// QEMU's monitor, or libvirt's events, are not heard.
    package static let monitorSilent = "monitor-silent"
    /// A migration did not go as expected.
    package static let attention = "needs-attention"
    /// A control plane has a neighbour of a guest that is here.
    package static let neighbourClaimed = "neighbour-claimed"
    /// A guest in an EVPN fabric changes hosts so often that FRR takes its addresses for duplicates.
    package static let handovers = "handovers"
    /// A bracket is open for longer than it should, and nobody is there who closes it.
    package static let bracketOpen = "bracket-open"
    /// The configuration names it with its ports, and it could not be prepared.
    package static let unprepared = "not-prepared"
    /// The same, and it was released by others than the daemon.
    package static let released = "released"
    /// The configuration names it with its ports, and some are not there.
    package static let awaiting = "awaits-ports"
    /// Its record is not what the configuration says.
    package static let otherwise = "configured-otherwise"
    /// The filters of a NIC are not as intended.
    package static let filters = "nic-filters"

    /// Makes a condition from its fields.
    package init(_ code: String, _ severity: Severity, _ subject: String, _ message: String, remedy: String) {
        self.code = code
        self.severity = severity
        self.subject = subject
        self.message = message
        self.remedy = remedy
    }

    /// One line.
    package var words: String { subject.isEmpty ? message : "\(subject): \(message)" }
}

extension Rule {
    /// Those whose findings are conditions of a prepared guest.
    package static let ofConditions = all.filter {
        !$0.refuses.isDisjoint(with: Refusal.anySide.union(.intent))
    }
}

extension Condition {
    /// What a finding about a prepared guest amounts to; nil for one that a guest on this side may have.
    ///
    /// A guest must find its other port ready, because nobody knows when it has to go there. The ports of a guest that is on another
    /// host wait for their time, and so does the primary of a guest that QEMU unplugs, or that a command takes there and back by a
    /// bracket. A bracket that the daemon opened is there because of the primary, where the guest should be.
    ///
    /// - Parameter isFollowed: the guest's redirections follow QEMU's events.
    package init?(_ finding: Finding, about record: GuestRecord, isFollowed: Bool) {
        let severity: Severity
        if finding.refuses.contains(.intent) {
            severity = .problem
        } else if record.entrySide == .primary, finding.refuses.contains(.toStandby) {
            severity = .warning
        } else if record.entrySide == .standby, !isFollowed, finding.refuses.contains(.toPrimary),
            record.phase == .pinned || record.isBracketForCarrier
        {
            severity = record.phase == .pinned ? .warning : .problem
        } else {
            return nil
        }
        self.init(finding.code.rawValue, severity, finding.subject, finding.message, remedy: finding.remedy)
    }
}

/// The conditions of one guest, each with its beginning; no I/O.
package struct Conditions: Hashable, Sendable {
    /// A condition and when it began.
    package struct Entry: Hashable, Sendable {
        /// The condition as it was last found.
        package fileprivate(set) var condition: Condition
        /// When it was first found, in nanoseconds since 1970.
        package let since: Int64
        /// Who finds it.
        package let source: Condition.Source
    }

    /// A condition that has begun, has other words now, or is over.
    package struct Change: Hashable, Sendable {
        /// The condition.
        package let condition: Condition
        /// When it was first found, in nanoseconds since 1970.
        package let since: Int64
        /// It is over.
        package let isOver: Bool
    }

    /// In the order in which they began.
    package private(set) var entries: [Entry] = []

    /// Makes an empty list.
    package init() {}

    package var isEmpty: Bool { entries.isEmpty }

    /// What a source has found.
    package func found(by source: Condition.Source) -> [Condition] {
        entries.filter { $0.source == source }.map(\.condition)
    }

    /// Replaces what a source has found.
    ///
    /// - Parameters:
    ///   - found: its conditions, all of them.
    ///   - now: in nanoseconds since 1970.
    ///   - earlier: when a condition began that was known before this list was made.
    /// - Returns: what has changed.
    package mutating func replace(
        _ source: Condition.Source, by found: [Condition], at now: Int64, earlier: (Condition) -> Int64? = { _ in nil }
    ) -> [Change] {
        var changes: [Change] = []
        entries.removeAll { entry in
            guard entry.source == source, !found.contains(where: { $0.isSame(as: entry.condition) }) else {
                return false
            }
            changes.append(Change(condition: entry.condition, since: entry.since, isOver: true))
            return true
        }
        for condition in found {
            let place = entries.firstIndex { $0.source == source && $0.condition.isSame(as: condition) }
            guard let place else {
                let since = earlier(condition) ?? now
                entries.append(Entry(condition: condition, since: since, source: source))
                changes.append(Change(condition: condition, since: since, isOver: false))
                continue
            }
            guard entries[place].condition != condition else { continue }
            entries[place].condition = condition
            changes.append(Change(condition: condition, since: entries[place].since, isOver: false))
        }
        return changes
    }
}

extension Condition {
    /// Whether it is the same condition, perhaps in other words.
    package func isSame(as other: Condition) -> Bool { code == other.code && subject == other.subject }
}
