package import Policy
import Records
import System

/// What is wrong with guests, known when it happens: told to the log once when it begins and once when it is over, and kept in
/// a file for `status`, and in the metrics.
extension Keeper {
    /// Between two judgements of one guest's ports, in nanoseconds: a guest can flap its carrier as fast as it likes.
    private static let judgementPause: Int64 = 100_000_000
    /// Between two writings of the file, in nanoseconds.
    private static let writingPause: Int64 = 100_000_000
    /// Guests that are judged in one turn of the loop: a turn stays below some milliseconds.
    private static let judgementsPerTurn = 16

    /// A condition of a guest that has begun, changed or ended.
    package struct ConditionNews: Sendable {
        /// The guest.
        package let guest: GuestID
        /// What has changed.
        package let change: Conditions.Change
        /// Changes of this guest before this one that were not told, because there were too many.
        package let untold: Int
    }

    /// The bridge or the ports of guests may have changed: they are judged soon.
    mutating func suspect(_ rows: some Sequence<Int64>) {
        for row in rows where wards[row] != nil { unjudged.insert(row) }
    }

    /// When ``judgeSome()`` or ``writeConditions()`` has something to do, on CLOCK_MONOTONIC in nanoseconds; nil for never.
    package var conditionsDue: Int64? {
        var due = conditionsAreNew ? conditionsWrittenAt + Keeper.writingPause : Int64.max
        let now = monotonicNanoseconds()
        // One that is due is enough.
        for row in unjudged {
            if due <= now { break }
            due = min(due, (wards[row]?.judgedAt ?? 0) + Keeper.judgementPause)
        }
        return due == .max ? nil : due
    }

    /// Judges the ports of some guests that may have changed.
    package mutating func judgeSome() {
        let now = monotonicNanoseconds()
        var due: [Int64] = []
        for row in unjudged where now - (wards[row]?.judgedAt ?? 0) >= Keeper.judgementPause {
            due.append(row)
            if due.count == Keeper.judgementsPerTurn { break }
        }
        for row in due { judge(row) }
    }

    /// Judges a guest's bridge, ports and filters now.
    ///
    /// - Returns: whether it has a problem.
    @discardableResult
    package mutating func judge(_ row: Int64) -> Bool {
        unjudged.remove(row)
        guard let record = watch.records[row] else { return false }
        wards[row]?.judgedAt = monotonicNanoseconds()
        // What is under way is judged when it has ended.
        guard record.phase == .pinned || record.phase == .bracketed else { return false }
        let found = Verify.conditions(of: record, isFollowed: wards[row]?.isFollowed == true, on: &host.kernel)
        set(row, .rules, found)
        return found.contains { $0.severity == .problem }
    }

    /// Replaces what a source has found about a guest.
    package mutating func set(_ row: Int64, _ source: Condition.Source, _ found: [Condition]) {
        guard let record = watch.records[row], var ward = wards[row] else { return }
        guard replace(source, by: found, of: record.guest.id, row, in: &ward) else { return }
        wards[row] = ward
        countConditions(of: record.guest.id)
        // Who closes its bracket depends on it.
        if source == .monitor { noteBracket(record) }
    }

    /// Guests about which an earlier daemon of this boot had found something by a look.
    package var earlierSuspects: [Int64] { earlierConditions.rows(.look) }

    /// What an earlier daemon had found of others than these has ended.
    ///
    /// - Parameters:
    ///   - followed: the rows of guests that are followed.
    ///   - configured: the guests that the configuration has prepared.
    package mutating func endEarlierConditions(followed: Set<Int64>, configured: Set<GuestID>) {
        earlierConditions.end([.monitor]) { !followed.contains($1) }
        let names = Set(configured.map(\.text))
        earlierConditions.end([.configuration]) { guest, _ in !names.contains(guest) }
    }

    /// Replaces what was found about a guest that the configuration names and that is not prepared.
    package mutating func set(absent guest: GuestID, _ found: [Condition]) {
        var ward = absent[guest] ?? Ward()
        guard replace(.configuration, by: found, of: guest, ConditionRecord.absent, in: &ward) else { return }
        absent[guest] = found.isEmpty ? nil : ward
        countConditions(of: guest)
    }

    /// - Returns: whether anything has changed.
    private mutating func replace(
        _ source: Condition.Source, by found: [Condition], of guest: GuestID, _ row: Int64, in ward: inout Ward
    ) -> Bool {
        let earlier = earlierConditions.take(.init(guest: guest.text, row: row, source: source))
        if found.isEmpty, ward.conditions.isEmpty { return false }
        let changes = ward.conditions.replace(source, by: found, at: Stopwatch.realTime) { condition in
            earlier.first { $0.condition.isSame(as: condition) }?.since
        }
        guard !changes.isEmpty else { return false }
        conditionsAreNew = true
        for change in changes {
            guard ward.telling.ask(at: monotonicNanoseconds()) else { continue }
            conditionNews.append(ConditionNews(guest: guest, change: change, untold: ward.telling.takeRefused()))
            host.events.append(
                change.isOver ? .conditionOver : .condition, guest: guest.text, at: Stopwatch.realTime,
                change.condition.words, code: change.condition.code)
        }
        return true
    }

    private mutating func countConditions(of guest: GuestID) {
        let ward = watch.record(named: guest).flatMap { wards[$0.row] }
        let entries = (ward?.conditions.entries ?? []) + (absent[guest]?.conditions.entries ?? [])
        counters.conditions[guest] = Dictionary(
            grouping: entries, by: { DaemonCounters.ConditionKind($0.condition) }
        ).mapValues(\.count)
    }

    /// A guest has come from another host, or gone to one, in an EVPN fabric.
    mutating func noteHandover(_ record: GuestRecord) {
        guard let uplink = record.guest.uplink?.index, watch.isTunnel(uplink) else { return }
        wards[record.row]?.handovers.note(at: monotonicNanoseconds())
        countHandovers()
    }

    /// Notes which guests have changed hosts before this daemon was started, by the history.
    mutating func recallHandovers() {
        let guests = watch.records.values.filter { $0.guest.uplink.map { watch.isTunnel($0.index) } == true }
        guard !guests.isEmpty else { return }
        let rows = Dictionary(uniqueKeysWithValues: guests.map { ($0.guest.id.text, $0.row) })
        let (begin, now) = (Stopwatch.realTime, monotonicNanoseconds())
        let filter = HistoryFilter(
            since: begin - HandoverBudget.window,
            outcomes: [Report.Result.done, .unrecorded].map(\.rawValue), limit: 10_000)
        let remote = Side.remote.rawValue
        for entry in ((try? HistoryReading.entries(filter, in: folder)) ?? []).reversed() {
            guard let row = rows[entry.guest], (entry.from == remote) != (entry.to == remote) else { continue }
            wards[row]?.handovers.note(at: now - max(0, begin - entry.time))
        }
        countHandovers()
    }

    /// Tells of guests that have changed hosts often, and of those that have no longer.
    package mutating func countHandovers() {
        let now = monotonicNanoseconds()
        for (row, ward) in wards where ward.handovers.due(at: now) != nil || !ward.conditions.found(by: .fabric).isEmpty
        {
            set(row, .fabric, ward.handovers.condition(at: now).map { [$0] } ?? [])
        }
    }

    /// How a guest's redirections are made: those of a guest that is only observed are only planned.
    func options(for row: Int64) -> VerbOptions {
        isObserved(row) ? options.onlyPlanning : options
    }

    /// A guest is only observed.
    package func isObserved(_ row: Int64) -> Bool { watch.records[row].map { observed.contains($0.guest.id) } ?? false }

    /// Says what would be done about a guest that is only observed.
    ///
    /// - Parameter moves: the entries and ports, which tell this plan from another one (``Report/moves``).
    package mutating func observe(_ row: Int64, _ source: Condition.Source, _ moves: String, _ words: String) {
        let condition = Condition(
            Condition.wouldAct, .problem, moves, words, remedy: "act = true in its configuration lets the daemon do it")
        set(row, source, [condition])
    }

    /// Applies a new list of guests that are only observed. For a guest that leaves the list the conditions `would-act` end: the next
    /// look acts where it still finds a reason.
    package mutating func setObserved(_ new: Observed) {
        let old = observed
        observed = new
        for (row, record) in watch.records where old.contains(record.guest.id) && !new.contains(record.guest.id) {
            for source in Condition.Source.allCases {
                let found = wards[row]?.conditions.found(by: source) ?? []
                set(row, source, found.filter { $0.code != Condition.wouldAct })
            }
        }
    }

    /// What a redirection would do with a guest's entries, in words.
    package func moves(_ row: Int64, to side: Side) -> String {
        guard let guest = watch.records[row]?.guest, let port = guest.port(of: side) else { return "" }
        let from = watch.records[row].flatMap { guest.port(of: $0.entrySide)?.name }
        return Report.moves(guest.addresses.map { ("\($0)", from, port.name) })
    }

    /// Takes what is to be told.
    package mutating func takeConditionNews() -> [ConditionNews] {
        defer { conditionNews = [] }
        return conditionNews
    }

    /// Writes the file of conditions if they have changed and it was not written just now.
    ///
    /// - Returns: whether it was written.
    /// - Throws: ``ControllerError`` of code `precondition`; it is tried again.
    package mutating func writeConditions() throws(ControllerError) -> Bool {
        let now = monotonicNanoseconds()
        guard conditionsAreNew, now - conditionsWrittenAt >= Keeper.writingPause else { return false }
        conditionsWrittenAt = now
        let all = watch.records.values.flatMap { record in
            (wards[record.row]?.conditions.entries ?? []).map {
                ConditionRecord(guest: record.guest.id.text, row: record.row, $0)
            }
        }
        let unrecorded = absent.flatMap { id, ward in
            ward.conditions.entries.map { ConditionRecord(guest: id.text, row: ConditionRecord.absent, $0) }
        }
        let followed = wards.compactMap { $1.isFollowed ? watch.records[$0]?.guest.id.text : nil }
        conditionsWritten = try journal.write(
            (all + unrecorded).sorted { ($0.guest, $0.since) < ($1.guest, $1.since) }, followed: followed.sorted())
        conditionsAreNew = false
        return true
    }
}

/// Guests that a daemon does not change: it says what it would do, with the evidence.
package struct Observed: Hashable, Sendable {
    private let all: Bool
    private let guests: Set<GuestID>

    /// - Parameters:
    ///   - all: every guest.
    ///   - guests: these.
    package init(all: Bool = false, guests: Set<GuestID> = []) {
        self.all = all
        self.guests = guests
    }

    package func contains(_ id: GuestID) -> Bool { all || guests.contains(id) }
}

/// Conditions that an earlier daemon of this boot had found, by who found them. One goes on if its source finds it again at the first look
/// at the guest; what that does not find has ended meanwhile.
struct EarlierConditions {
    /// Where a source finds conditions.
    struct Place: Hashable {
        let guest: String
        let row: Int64
        let source: Condition.Source
    }

    private var records: [Place: [ConditionRecord]] = [:]

    init(_ all: [ConditionRecord]) {
        for record in all {
            guard let source = record.source else { continue }
            records[Place(guest: record.guest, row: record.row, source: source), default: []].append(record)
        }
    }

    func at(_ place: Place) -> [ConditionRecord] { records[place] ?? [] }

    /// The guests where a source had found something.
    func rows(_ source: Condition.Source) -> [Int64] { records.keys.filter { $0.source == source }.map(\.row) }

    /// Those of a source that looks at the guest now.
    mutating func take(_ place: Place) -> [ConditionRecord] {
        records.isEmpty ? [] : records.removeValue(forKey: place) ?? []
    }

    /// Forgets those of sources at guests where these do not look.
    mutating func end(_ sources: Set<Condition.Source>, where isLeftOut: (_ guest: String, _ row: Int64) -> Bool) {
        records = records.filter { !sources.contains($0.key.source) || !isLeftOut($0.key.guest, $0.key.row) }
    }
}

/// How much is told of one guest: a guest whose link flaps must fill neither the log nor the events.
///
/// Twenty changes are told at once, and one every ten seconds after that. What is not told is counted, and is in the file and
/// the metrics all the same.
struct TellingBudget: Hashable {
    private var left = TellingBudget.burst
    private var filledAt: Int64 = 0
    private var refused = 0

    private static let burst = 20
    private static let pause: Int64 = 10_000_000_000

    /// Asks to tell one change.
    ///
    /// - Parameter now: on CLOCK_MONOTONIC, in nanoseconds.
    mutating func ask(at now: Int64) -> Bool {
        let earned = (now - filledAt) / TellingBudget.pause
        if earned > 0 {
            left = min(TellingBudget.burst, left + Int(clamping: earned))
            filledAt = now
        }
        guard left > 0 else {
            refused += 1
            return false
        }
        left -= 1
        return true
    }

    /// The changes that were refused since this was last asked.
    mutating func takeRefused() -> Int {
        defer { refused = 0 }
        return refused
    }
}
