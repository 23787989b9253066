package import FDB
import Glibc
import JSON
package import Policy
package import Switchdev
import System

/// A guest that this process has locked, with its record as it was read under the lock. Nobody else writes the record meanwhile,
/// and this process writes it by this value alone. The lock ends with the value.
package struct Claim: ~Copyable {
    /// As it was read; what is written since is not in it (``reread()``).
    package private(set) var record: GuestRecord
    /// The journal that the record is in.
    package let journal: Journal
    private let file: File

    /// - Parameter lock: nil for a dry run, which only reads.
    fileprivate init(
        _ record: GuestRecord, _ document: RecordDocument, in journal: Journal, _ lock: consuming GuestLock?
    ) {
        self.record = record
        self.journal = journal
        file = File(document, record.guest.id.text, journal, lock)
    }

    /// The record with the names that the guest's bridge and ports have now. Whatever is written next has them too.
    ///
    /// - Parameter observation: read by their interface indexes.
    package func named(by observation: Observation) -> GuestRecord {
        guard let guest = record.guest.renamed(observation.name) else { return record }
        file.rename(guest, record.guest.renamings(to: guest))
        var record = record
        record.guest = guest
        return record
    }

    /// What the guest's bridge and ports are called now, where the record has another name, in words.
    package var renaming: String? { file.renaming }

    /// Writes the names that ``named(by:)`` has found, and nothing else.
    package func writeNames() throws(ControllerError) { try file.write(file.document) }

    /// Has whose lock the ports with a gate have written with what is written next; once nothing is under way, with nothing else
    /// too (``JournalChange/none``).
    package func noteLocks(of guest: GuestInterface) { file.noteLocks(of: guest) }

    /// Writes what a plan tells the journal.
    ///
    /// What begins something reserves the space for what ends it, so that a full file system refuses before anything is moved.
    ///
    /// - Parameters:
    ///   - change: what it tells.
    ///   - shown: what the plan's execution showed of hardware.
    /// - Throws: ``ControllerError`` of code `precondition` when the record cannot be written.
    package func write(
        _ change: JournalChange, shown: OffloadProof.Status = .missing
    ) throws(ControllerError) {
        func status(_ proof: JournalChange.KnownProof) -> OffloadProof.Status {
            if case .earlier(let status) = proof { status } else { shown }
        }
        var document = file.document
        switch change {
        case .none: return file.hasNews ? try file.write(document) : ()
        case .intent(let phase, let goal):
            document.begin(phase, goal: goal, by: journal.folder.doer)
        case .bracket(let phase, let bracket, let side, let goal, let proof):
            document.begin(phase, goal: goal, by: journal.folder.doer)
            document["side"] = .string(side.rawValue)
            document["bracket"] = RecordDocument.bracket(bracket)
            if let proof { document["proof"] = .string(status(proof).rawValue) }
        case .settled(let side, let proof, let endsBracket):
            // A write that changed no entry of an eswitch port says nothing about hardware: the earlier proof still holds.
            let isStill = side == record.guest.side && record.phase == .pinned && record.proof == .proven
            let known = proof == .shown && shown == .nothingToProve && isStill ? record.proof : status(proof)
            document.settle(side, proof: known, by: journal.folder.doer)
            if endsBracket { document["bracket"] = nil }
        case .confirmed(let side):
            if shown == record.proof || shown == .nothingToProve { return }
            document.settle(side, proof: shown, by: journal.folder.doer)
        case .removed:
            return try remove()
        }
        if !change.isBeginning { return try file.write(document) }
        do throws(ControllerError) { try file.write(document, reserves: true) } catch { throw error.beforeAnything }
    }

    /// Reads the record again, after it was written.
    ///
    /// - Returns: false when there is none any more.
    @discardableResult
    package mutating func reread() throws(ControllerError) -> Bool {
        guard let (document, record) = try journal.document(record.guest.id.text) else { return false }
        file.begin(document)
        self.record = record
        return true
    }

    /// Forgets the guest: its record, then the marks of its addresses and ports.
    private func remove() throws(ControllerError) {
        let lock = try journal.lockAll()
        defer { withExtendedLifetime(lock) {} }
        let guest = record.guest
        // Who prepares the guest anew makes one of the same name.
        file.dropReserve()
        try journal.folder.remove(Journal.file(guest.id.text))
        try journal.unmark(guest.addresses, of: record)
        for port in Set(guest.ports.map(\.port.index)) { try journal.unmark(port: port, of: record) }
        // Who waits for this lock takes one of a new file.
        try journal.folder.remove("locks/\(guest.id)")
    }

    // MARK: - Ports and addresses

    /// The guest's primary port is another interface now.
    package func rebind(primary port: PortIdentity) throws(ControllerError) {
        let lock = try journal.lockAll()
        defer { withExtendedLifetime(lock) {} }
        guard let old = record.guest.primary?.index else { return }
        try journal.mark(port: port.index, of: record)
        var document = file.document
        document.update("ports") { element in
            guard element["role"]?.text == "primary" else { return element }
            return element.with([
                .init("name", .string(port.name)), .init("ifindex", .integer(Int64(port.index))),
                .init("eswitch", .bool(port.isEswitchPort)),
            ])
        }
        try file.write(document)
        if !record.guest.ports.contains(where: { $0.side != .primary && $0.port.index == old }) {
            try journal.unmark(port: old, of: record)
        }
    }

    /// The entries of the guest's addresses before they were pinned; nil in a record of a version that did not keep them.
    package var found: EntrySet? { file.document.found }

    /// The neighbours that follow the guest, as they were before.
    package var foundNeighbours: [IPNeighbour] { file.document.foundNeighbours }

    /// Adds addresses to a guest; an address of another guest on the same bridge is refused.
    ///
    /// - Parameter found: their entries before they are pinned.
    package func adopt(_ addresses: [Address], found: [Entry] = []) throws(ControllerError) {
        let lock = try journal.lockAll()
        defer { withExtendedLifetime(lock) {} }
        try journal.mark(addresses, of: record)
        var document = file.document
        let known = document["addresses"]?.elements ?? []
        let new = addresses.map { RecordDocument.address($0, isDeclared: false) }
        document["addresses"] = .array(
            (known + new).sorted {
                guard let first = $0.address, let second = $1.address else { return false }
                return first < second
            })
        if let kept = document["found"]?.elements {
            document["found"] = .array(kept + found.map(RecordDocument.entry))
        }
        try file.write(document)
    }

    /// Takes adopted addresses away from a guest.
    ///
    /// - Parameter side: nothing is under way any more, and the guest is on this side; nil to leave the phase.
    package func drop(_ addresses: [Address], settlesAt side: Side? = nil) throws(ControllerError) {
        let lock = try journal.lockAll()
        defer { withExtendedLifetime(lock) {} }
        var document = file.document
        document["addresses"] = .array(
            (document["addresses"]?.elements ?? []).filter { $0.address.map { !addresses.contains($0) } ?? true })
        if let kept = document["found"]?.elements {
            document["found"] = .array(kept.filter { $0.address.map { !addresses.contains($0) } ?? true })
        }
        if let side { document.settle(side, proof: record.proof, by: journal.folder.doer) }
        try file.write(document)
        try journal.unmark(addresses, of: record)
    }

    /// Another process holds the guest.
    package static func busy(_ record: GuestRecord, _ holder: Holder? = nil) -> ControllerError {
        let who = holder.map { ", by process \($0.pid), \($0.by)" } ?? ""
        return ControllerError(
            .busy, "another redirection of guest \(record.guest.id) is running (\(record.phase.rawValue)\(who))",
            remedy: "wait for it; \"fdbsteer status \(record.guest.id)\" shows it")
    }
}

extension Claim {
    /// The file of a record whose guest is held.
    fileprivate final class File {
        var document: RecordDocument
        /// What the guest's bridge and ports are called now, where the record has other names, in words.
        private(set) var renaming: String?
        /// The document has what is to be written though nothing else is.
        private(set) var hasNews = false
        private let name: String
        private let journal: Journal
        private var folder: RecordFolder { journal.folder }
        private let lock: GuestLock?
        /// An open file that has the space for the next write.
        private var reserve: Int32?

        init(_ document: RecordDocument, _ name: String, _ journal: Journal, _ lock: consuming GuestLock?) {
            self.document = document
            self.name = name
            self.journal = journal
            self.lock = lock
        }

        deinit { dropReserve() }

        func begin(_ document: RecordDocument) {
            self.document = document
            renaming = nil
        }

        func rename(_ guest: GuestInterface, _ words: String) {
            if renaming == words { return }
            renaming = words
            document.rename(guest)
        }

        func noteLocks(of guest: GuestInterface) { if document.noteLocks(of: guest) { hasNews = true } }

        func dropReserve() {
            guard let file = reserve.take() else { return }
            close(file)
            try? folder.remove(reserveName)
        }

        private var newName: String { "guests/.\(name).new" }
        private var reserveName: String { "guests/.\(name).reserve" }

        /// Puts a document in the place of the record.
        ///
        /// - Parameter reserves: keeps space for another write.
        func write(_ document: RecordDocument, reserves: Bool = false) throws(ControllerError) {
            var document = document
            document.countWrite()
            let bytes = document.bytes
            let temporary: String
            if let file = reserve {
                temporary = reserveName
                reserve = nil
                defer { close(file) }
                try folder.write(bytes, to: file, temporary)
                _ = ftruncate(file, off_t(bytes.count))
            } else {
                temporary = newName
                let file = try folder.make(temporary)
                defer { folder.retire(file) }
                do throws(ControllerError) {
                    try folder.write(bytes, to: file, temporary)
                    if reserves { try makeReserve(bytes.count + RecordDocument.room) }
                } catch {
                    try? folder.remove(temporary)
                    throw error
                }
            }
            try folder.rename(temporary, Journal.file(name))
            self.document = document
            journal.written = (name, bytes, document)
            hasNews = false
        }

        func makeReserve() throws(ControllerError) { try makeReserve(document.bytes.count + RecordDocument.room) }

        private func makeReserve(_ size: Int) throws(ControllerError) {
            let file = try folder.make(reserveName)
            let code = posix_fallocate(file, 0, off_t(size))
            guard code == 0 else {
                close(file)
                try? folder.remove(reserveName)
                throw StateFolder.unwritable("\(folder.path)/\(reserveName)", code: code)
            }
            reserve = file
        }
    }
}

extension Journal {
    /// As long as a look or a repair of the daemon's takes at most, in nanoseconds: a redirection takes longer.
    package static let lockPatience: Int64 = 50_000_000

    /// Claims a guest: locks it and reads its record, in this order, so that what another process did until it let go of the lock
    /// is seen.
    ///
    /// - Parameters:
    ///   - id: the guest.
    ///   - onlyReads: a dry run takes no lock and writes nothing.
    ///   - reach: which guests it may be.
    /// - Throws: ``ControllerError`` of code `precondition` for a guest that is not known, of code `busy` for one that another
    ///   process holds.
    package func claim(
        _ id: GuestID, onlyReads: Bool = false, _ reach: Reach = .here
    ) throws(ControllerError) -> Claim {
        if onlyReads {
            let (document, record) = try known(id, reach)
            return Claim(record, document, in: self, nil)
        }
        // A lock makes a file: not for a guest that nobody has prepared.
        guard folder.exists(Journal.file(id.text)) else { throw .unknown(id, among: (try? names()) ?? []) }
        guard let lock = try GuestLock(id.text, in: folder, patience: Journal.lockPatience) else {
            throw Claim.busy(try guest(id, reach), holder(of: id.text))
        }
        do throws(ControllerError) {
            let (document, record) = try known(id, reach)
            return Claim(record, document, in: self, lock)
        } catch {
            // It was released meanwhile.
            if !folder.exists(Journal.file(id.text)) { try? folder.remove("locks/\(id)") }
            throw error
        }
    }

    /// Claims a guest, unless another process holds it or it is no longer known.
    ///
    /// - Parameter row: the guest is this one and not a later one of the same name.
    package func claim(
        _ id: GuestID, row: Int64, patience: Int64 = 0
    ) throws(ControllerError) -> Claim? {
        guard folder.exists(Journal.file(id.text)), let lock = try GuestLock(id.text, in: folder, patience: patience),
            let (document, record) = try document(id.text), record.row == row, place(of: record) != .otherNamespace
        else { return nil }
        return Claim(record, document, in: self, lock)
    }

    /// Claims a guest whose record is still as it was read before.
    package func claim(_ known: GuestRecord) throws(ControllerError) -> Claim? {
        guard let claim = try claim(known.guest.id, row: known.row), claim.record == known else { return nil }
        return claim
    }

    /// Makes the record of a guest whose preparation begins, and claims it. Others are kept from preparing and releasing guests
    /// while `plan` decides by what the journal has.
    ///
    /// - Parameters:
    ///   - given: the addresses as the caller named them, before their VLANs were resolved.
    ///   - ips: the guest's IP addresses, for the record.
    ///   - found: the entries that the plan was decided by; asked after `plan`.
    ///   - neighbours: the same of neighbours.
    /// - Throws: ``ControllerError`` of code `precondition` when the guest is known already, or the journal cannot be written, of
    ///   code `busy` when another process prepares it.
    package func claim(
        preparing id: GuestID, given: [Address] = [], ips: [AnnouncementRequest.Owned] = [],
        found: () -> [Entry]? = { nil }, neighbours: () -> [IPNeighbour] = { [] },
        _ plan: () throws(ControllerError) -> GuestInterface
    ) throws(ControllerError) -> Claim {
        guard let lock = try GuestLock(id.text, in: folder, patience: Journal.lockPatience) else {
            throw ControllerError(
                .busy, "another process prepares guest \(id)", remedy: "wait for it; \"fdbsteer status \(id)\" shows it"
            )
        }
        let record: GuestRecord
        let document: RecordDocument
        do throws(ControllerError) {
            let all = try lockAll()
            defer { withExtendedLifetime(all) {} }
            var guest = try plan()
            guard try self.document(id.text) == nil else {
                throw ControllerError(.busy, "another process has prepared guest \(id) meanwhile", remedy: "try again")
            }
            guest.fromPVID = guest.addresses.filter { $0.vlan != nil && !given.isEmpty && !given.contains($0) }
            let now = Stopwatch.realTime
            record = GuestRecord(
                row: now, guest: guest, phase: .preparing, goal: guest.side, boot: boot, namespace: namespace,
                cookie: cookie, proof: .missing, revision: 1, since: now, by: folder.doer.label)
            document = RecordDocument(record, ips: ips, found: found(), neighbours: neighbours())
            try make(record, document)
        } catch {
            // Without a record there is nobody to hold. Whoever waits for this lock takes one of a new file.
            if !folder.exists(Journal.file(id.text)) { try? folder.remove("locks/\(id)") }
            throw error
        }
        let claim = Claim(record, document, in: self, lock)
        try claim.makeReserve()
        return claim
    }

    /// Makes the marks of a guest, then its record. The caller holds ``lockAll()``.
    func make(_ record: GuestRecord, _ document: RecordDocument) throws(ControllerError) {
        let guest = record.guest
        try mark(guest.addresses, of: record)
        for port in Set(guest.ports.map(\.port.index)) { try mark(port: port, of: record) }
        try folder.replace(Journal.file(guest.id.text), by: document.bytes, through: "guests/.\(guest.id).new")
    }
}

extension Claim {
    /// Reserves the space for what ends a preparation; without it nothing was prepared.
    fileprivate func makeReserve() throws(ControllerError) {
        do throws(ControllerError) {
            try file.makeReserve()
        } catch {
            try? remove()
            throw error
        }
    }
}
