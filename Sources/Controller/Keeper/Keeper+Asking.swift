import FDB
import Netlink
package import Policy
import Records
import Switchdev
import System

/// Asking guests whether they take the frames of their ports (docs/asking.md).
extension Keeper {
    /// What became of a question.
    package enum AskState: Hashable, Sendable {
        /// There is no result yet; look again then (CLOCK_MONOTONIC, nanoseconds), or earlier.
        case asking(until: Int64)
        /// The result. Silence is one only of a guest that is known to answer.
        case found(InquiryResult)
    }

    /// An inquiry that has ended.
    package struct InquiryEnd: Sendable {
        package let row: Int64
        package let side: Side
        package let purpose: Asking.Purpose
        package let result: InquiryResult
        /// Whether the guest answers at all is known, or known otherwise.
        package let isNews: Bool
    }

    /// Asks a guest by one of its ports, without waiting for it.
    ///
    /// - Parameters:
    ///   - since: an earlier result counts from this time on (CLOCK_MONOTONIC, nanoseconds).
    ///   - cause: the check to repeat with the result.
    package mutating func ask(_ row: Int64, by side: Side, since: Int64, cause: Watch.Cause) -> AskState {
        let acquaintance = wards[row]?.acquaintance ?? Acquaintance()
        if let found = acquaintance.found[side], found.at >= since { return .found(judged(found.result, acquaintance)) }
        if let known = asking.running[row], known.side == side, known.purpose != .readiness,
            let due = known.inquirer?.due
        {
            return .asking(until: due)
        }
        if acquaintance.answers == .no { return .found(.cannot("it answers no questions")) }
        if let failure = begin(row, by: side, .check(cause)) { return .found(failure) }
        return .asking(until: monotonicNanoseconds() + 2 * (InquiryPace.deciding.limit ?? 0))
    }

    /// How old the result of an inquiry may be while a guest is in doubt, in nanoseconds; a quarter of the silence that sends a guest
    /// away, where that is less.
    private static let freshness: Int64 = 5_000_000_000

    /// Asks a guest in doubt by its own port: an answer is a sign of that port, and the only one of a guest that has nothing to say.
    ///
    /// - Returns: nil for a guest that QEMU is asked about, and one on another host whose port is a veth: behind that is a
    ///   kernel which answers for the addresses of its interface before the guest is there (a pod).
    mutating func askInDoubt(
        _ record: GuestRecord, _ observation: Observation, _ doubt: Doubt, at now: Int64
    ) -> AskState? {
        let isHere = record.entrySide != .remote
        let side = isHere ? record.entrySide : doubt.spokeBy ?? record.guest.arrival
        guard wards[record.row]?.word == nil, let port = observation.ports[side], isHere || port.kind != "veth" else {
            return nil
        }
        let freshness = min(Keeper.freshness, doubt.limits.silence / 4)
        // What it has answered before the doubt says nothing about what made it.
        return ask(record.row, by: side, since: max(now - freshness, doubt.openedAt), cause: isHere ? .stolen : .heard)
    }

    private func judged(_ result: InquiryResult, _ acquaintance: Acquaintance) -> InquiryResult {
        guard case .silent = result else { return result }
        if case .yes = acquaintance.answers { return result }
        return .cannot("it is not known to answer questions")
    }

    /// Asks a guest by one of its ports until it answers, or nobody wants to know any more (``stopAsking(_:)``).
    package mutating func awaitReadiness(_ row: Int64, by side: Side) {
        if wards[row]?.acquaintance.answers == .no { return }
        _ = begin(row, by: side, .readiness)
    }

    /// Nobody wants to know any more when a guest is ready.
    package mutating func stopAsking(_ row: Int64) {
        if asking.running[row]?.purpose == .readiness { asking.running[row] = nil }
    }

    /// Begins an inquiry in the place of one that is less urgent.
    ///
    /// - Returns: why it cannot be; nil where it has begun.
    private mutating func begin(_ row: Int64, by side: Side, _ purpose: Asking.Purpose) -> InquiryResult? {
        guard let record = watch.records[row], record.boot == journal.boot else { return .cannot("it is not watched") }
        guard mayAsk(record.guest.id) else { return .cannot("asking is switched off") }
        if let other = asking.running[row],
            other.purpose == .readiness
                || (other.purpose != .acquaintance && purpose != .readiness)
        {
            return .cannot("it is being asked by its \(other.side.rawValue)")
        }
        guard let owned = candidates(record).first else { return .cannot("no IP address of it is known") }
        do throws(ControllerError) {
            let target = try InquiryTarget(record.guest, by: side, owned, using: &host.kernel.socket)
            try shield(target.ports)
            let now = monotonicNanoseconds()
            let inquirer = try ControllerError.reading("answers of guest \(record.guest.id)") {
                () throws(NetlinkError) in try Inquirer(target, purpose.pace, probedAt: lastProbe(row), now: now)
            }
            let running = Asking.Running(inquirer, side, purpose, owned)
            asking.running[row] = running
            asking.events.watch(running.descriptor, token: row)
            return nil
        } catch {
            return .cannot(error.description)
        }
    }

    /// When a guest was last heard to probe its address, by an inquiry or while it was in doubt.
    func lastProbe(_ row: Int64) -> Int64? {
        [wards[row]?.acquaintance.probedAt, wards[row]?.doubt?.probedAt].compactMap { $0 }.max()
    }

    /// Nothing is put into a guest of which it only says what it would do.
    func mayAsk(_ id: GuestID) -> Bool { asking.rules.allows(id) && !observed.contains(id) }

    /// IP addresses at which a guest may answer, the best first.
    func candidates(_ record: GuestRecord) -> [AnnouncementRequest.Owned] {
        let acquaintance = wards[record.row]?.acquaintance ?? Acquaintance()
        if case .yes(let owned) = acquaintance.answers { return [owned] }
        let heard = acquaintance.heard.map { AnnouncementRequest.Owned(ip: $0) }
        return (declaredIPs(record) + heard).filter { !acquaintance.mute.contains($0.ip) }
    }

    /// A guest's IP addresses as operators have declared them, in its record and in the configuration.
    ///
    /// What was heard of a guest is not among them: a router forwards frames of others, and a guest may say anything. It is good for
    /// a question, and not to be told to others.
    func declaredIPs(_ record: GuestRecord) -> [AnnouncementRequest.Owned] {
        let recorded = (try? journal.ips(of: record.guest.id)) ?? []
        let configured = (asking.rules.ips[record.guest.id] ?? []).sorted { $0.ip < $1.ip }
        return recorded + configured
    }

    /// A chain is bound to a name since Linux 6.16 (`nft_netdev_event`, net/netfilter/nft_chain_filter.c): a port that has another name
    /// now gets a new one.
    mutating func shield(_ ports: [PortIdentity]) throws(ControllerError) {
        let new = ports.filter { asking.shielded[$0.index] != $0.name }
        for port in new where asking.shielded[port.index] != nil {
            try? AskShield.lower(port.index, using: &host.kernel.socket)
            asking.shielded[port.index] = nil
        }
        try InquiryTarget.shield(new, using: &host.kernel.socket)
        for port in new { asking.shielded[port.index] = port.name }
    }

    /// Ports of a guest have other names. Where it cannot be shielded, it is not asked any more.
    mutating func reshield(_ guest: GuestInterface) {
        let ports = guest.ports.map(\.port).filter { asking.shielded[$0.index] != nil }
        try? shield(ports)
    }

    // MARK: - The loop

    /// For poll(2): input while a guest may have answered.
    package var askingDescriptor: Int32 { asking.events.descriptor }

    /// When to call ``advanceAsking(now:)`` at the latest, on CLOCK_MONOTONIC in nanoseconds.
    package var askingDue: Int64 {
        var due = asking.running.count < Asking.mostAtRest ? asking.nextRest : .max
        for known in asking.running.values { due = min(due, known.due) }
        return due
    }

    /// Takes answers, puts questions that are due, and begins inquiries at rest.
    ///
    /// - Returns: inquiries that have ended.
    package mutating func advanceAsking(now: Int64) -> [InquiryEnd] {
        var ended: [InquiryEnd] = []
        var woken: [Int64] = []
        if !asking.running.isEmpty { asking.events.wait(milliseconds: 0, &woken) }
        for (row, known) in asking.running where known.due <= now || woken.contains(row) {
            let result = known.inquirer?.advance(now: now)
            if let probe = known.inquirer?.probedAt { wards[row]?.acquaintance.probedAt = probe }
            if let result {
                asking.running[row] = nil
                ended.append(conclude(row, known, result, now: now))
            } else if known.hearing != nil {
                hear(row, known, now: now)
            }
        }
        if now >= asking.nextRest, asking.running.count < Asking.mostAtRest { restAsking(now: now) }
        for port in asking.unused where watch.rows(at: port).isEmpty {
            // A rule that cannot be removed only drops frames to the reserved MACs, which no host owns.
            try? AskShield.lower(port, using: &host.kernel.socket)
            asking.shielded[port] = nil
        }
        asking.unused = []
        return ended
    }

    private mutating func hear(_ row: Int64, _ known: Asking.Running, now: Int64) {
        let acquaintance = wards[row]?.acquaintance ?? Acquaintance()
        // What was heard and is not answered may have been forwarded for somebody else.
        let ip = known.hearing?.take(isStrict: !acquaintance.mute.isEmpty)
        if let ip, !acquaintance.mute.contains(ip) {
            asking.running[row] = nil
            wards[row]?.acquaintance.hear(ip)
            askAtRest(row, at: now)
        } else if now >= known.end {
            asking.running[row] = nil
        }
    }

    private mutating func conclude(
        _ row: Int64, _ known: Asking.Running, _ result: InquiryResult, now: Int64
    ) -> InquiryEnd {
        let before = wards[row]?.acquaintance.answers
        wards[row]?.acquaintance.found[known.side] = (result, now)
        counters.countInquiry(result)
        if case .answered(_, let mac) = result, case .check = known.purpose {
            wards[row]?.doubt?.answered(mac, by: known.side, at: now)
        }
        switch (result, known.owned) {
        case (.answered, let owned?):
            wards[row]?.acquaintance.answers = .yes(owned)
            wards[row]?.acquaintance.mute = []
        case (.silent, let owned?) where known.purpose == .acquaintance:
            wards[row]?.acquaintance.mute.insert(owned.ip)
            wards[row]?.acquaintance.answers = .no
            // It may answer at another address.
            askAtRest(row, at: now)
        default: break
        }
        let after = wards[row]?.acquaintance.answers
        if let id = watch.records[row]?.guest.id, let after { counters.answers[id] = after.isYes }
        return InquiryEnd(
            row: row, side: known.side, purpose: known.purpose, result: result,
            isNews: before?.isYes != after?.isYes)
    }

    // MARK: - At rest

    /// Whether a guest answers is to be found out, now that it is known, or anew.
    mutating func askAtRest(_ row: Int64, at time: Int64) {
        // By another port, perhaps.
        if asking.running[row]?.purpose == .acquaintance { asking.running[row] = nil }
        asking.restDue[row] = time
        asking.nextRest = min(asking.nextRest, time)
    }

    /// Whether guests answer is to be found out anew: a guest may have got another address, or a firewall.
    mutating func askAllAtRest() {
        let now = monotonicNanoseconds()
        for row in watch.records.keys where asking.running[row] == nil {
            wards[row]?.acquaintance.mute = []
            askAtRest(row, at: now)
        }
    }

    private mutating func restAsking(now: Int64) {
        asking.nextRest = .max
        for (row, time) in asking.restDue {
            guard now >= time, asking.running.count < Asking.mostAtRest else {
                asking.nextRest = min(asking.nextRest, max(time, now))
                continue
            }
            asking.restDue[row] = nil
            if let record = watch.records[row], asking.running[row] == nil { beAcquainted(record, now: now) }
        }
    }

    /// Asks a guest by the port where it is, or hears what its IP address is.
    private mutating func beAcquainted(_ record: GuestRecord, now: Int64) {
        let (row, guest) = (record.row, record.guest)
        guard record.phase == .pinned, guest.side != .remote, mayAsk(guest.id),
            let port = guest.port(of: guest.side),
            let link = (try? Links.read([port.index], using: &host.kernel.socket))?.first ?? nil, link.isUp,
            link.hasCarrier
        else { return }
        guard candidates(record).isEmpty else {
            _ = begin(row, by: guest.side, .acquaintance)
            return
        }
        guard let links = try? InquiryTarget.links(of: guest, using: &host.kernel.socket),
            let hearing = try? GuestHearing(guest, on: links.map { PortIdentity($0) })
        else { return }
        let running = Asking.Running(hearing, until: now + Asking.hearingTime)
        asking.running[row] = running
        asking.events.watch(running.descriptor, token: row)
    }

    /// A guest is not watched any more.
    mutating func forgetAsking(_ row: Int64) {
        asking.running[row] = nil
        asking.restDue[row] = nil
        guard let guest = watch.records[row]?.guest else { return }
        counters.answers[guest.id] = nil
        asking.unused.formUnion(guest.ports.map(\.port.index).filter { asking.shielded[$0] != nil })
    }

    /// Applies a new configuration of which guests may be asked.
    package mutating func setAsking(_ rules: Asking.Rules) {
        if asking.rules == rules { return }
        asking.rules = rules
        // Announcements that were made beforehand have the IP addresses of before.
        spoilReady()
        for (row, record) in watch.records where !rules.allows(record.guest.id) {
            asking.running[row] = nil
            wards[row]?.acquaintance = Acquaintance()
            counters.answers[record.guest.id] = nil
        }
        askAllAtRest()
    }
}
