import CNetlink
import Glibc
package import Policy
import System

/// What is intended on this host: a file for each guest interface, with its side and the operation in progress (docs/records.md).
///
/// A record is written before the first netlink write of a redirection and after the last, so a killed process leaves no doubt
/// about the state. It has to survive processes but not the kernel, which loses its FDB too: nothing waits for a disk, and the
/// boot id makes void what a disk has kept.
///
/// Readers take no lock and write nothing: a record is replaced as a whole (rename(2)), so they see it as it was or as it is.
package final class Journal {
    let folder: RecordFolder
    /// This boot (/proc/sys/kernel/random/boot_id).
    package let boot: String
    /// The cookie of the calling thread's network namespace; nil before Linux 5.14.
    package let cookie: Int64?
    /// The inode of that namespace.
    package private(set) lazy var namespace: Int64 = {
        var information = stat()
        return stat("/proc/thread-self/ns/net", &information) == 0 ? Int64(information.st_ino) : 0
    }()

    /// Subfolders of the records' folder.
    enum Subfolder: String, CaseIterable {
        case guests, locks, ports, addresses, probes, waits
    }

    /// The record that was written last: to read it again, as who has written it does, its text need not be parsed.
    var written: (name: String, bytes: [UInt8], document: RecordDocument)?
    /// Records as they were last read, by name; nil for a process that reads each once.
    private var kept: [String: Kept]?
    /// The most of them that are kept.
    private let most: Int

    struct Kept {
        let bytes: [UInt8]
        let document: RecordDocument
        let record: GuestRecord
    }

    private init(_ folder: RecordFolder, keepingRecords most: Int = 0) {
        self.folder = folder
        self.most = most
        kept = most > 0 ? [:] : nil
        boot = SystemFile.firstLine(of: "/proc/sys/kernel/random/boot_id") ?? "unknown"
        let number = cn_namespace_cookie()
        cookie = number == 0 ? nil : Int64(bitPattern: number)
    }

    /// Opens the journal for reading; nil if there is none yet.
    ///
    /// - Parameter most: so many records that are read again are decoded only if their files have changed.
    /// - Throws: ``ControllerError`` of code `precondition` if it cannot be read.
    package convenience init?(
        reading folder: StateFolder, keepingRecords most: Int = 0
    ) throws(ControllerError) {
        guard let opened = try RecordFolder(folder) else { return nil }
        if folder.hasDatabase {
            try self.init(folder: folder, keepingRecords: most)
        } else {
            self.init(opened, keepingRecords: most)
        }
        guard self.folder.exists(Subfolder.guests.rawValue) else { return nil }
    }

    /// Opens the journal for a verb about a guest that must exist: it is not made when it is missing.
    ///
    /// - Parameter most: as of ``init(reading:keepingRecords:)``.
    /// - Throws: ``ControllerError`` of code `precondition`.
    package static func open(
        _ folder: StateFolder, for id: GuestID, keepingRecords most: Int = 0
    ) throws(ControllerError) -> Journal {
        guard let journal = try Journal(reading: folder, keepingRecords: most) else {
            throw .unknown(id, noJournal: folder)
        }
        return journal
    }

    /// Begins a call of several: who works with it from now on. What takes time and can wait is left for ``rest()``.
    package func work(for doer: Doer) {
        folder.doer = doer
        folder.mostRetired = 4
    }

    /// The call is over, and its caller has the answer.
    package func rest() { folder.closeRetired() }

    /// Opens the journal in a folder, which is made when it is missing.
    ///
    /// - Parameter most: as of ``init(reading:keepingRecords:)``.
    /// - Throws: ``ControllerError`` of code `precondition` if the folder or the files cannot be written.
    package convenience init(folder: StateFolder, keepingRecords most: Int = 0) throws(ControllerError) {
        var found = try RecordFolder(folder)
        if found == nil {
            try folder.create()
            found = try RecordFolder(folder)
        }
        guard let opened = found else { throw StateFolder.unwritable(folder.path, "somebody removes it") }
        self.init(opened, keepingRecords: most)
        if !opened.exists(Subfolder.guests.rawValue) {
            // The folder of the guests is the last: who sees it can rely on the others.
            for name in Subfolder.allCases.reversed() { try opened.makeFolder(name.rawValue) }
        }
        if folder.hasDatabase { try convertDatabase(folder) }
    }

    // MARK: - Reading

    /// The file of a guest's record.
    static func file(_ name: String) -> String { "guests/\(name).json" }

    /// The document of a guest's record; nil when there is none.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` that names a file that is no record.
    func document(_ name: String) throws(ControllerError) -> (RecordDocument, GuestRecord)? {
        let file = Journal.file(name)
        guard let bytes = try folder.read(file) else {
            kept?[name] = nil
            return nil
        }
        let old = kept?[name]
        if let old, old.bytes == bytes { return (old.document, old.record) }
        do throws(RecordDocument.Fault) {
            guard let document = writtenDocument(name, bytes) ?? RecordDocument(bytes) else {
                throw RecordDocument.Fault("it is no JSON object")
            }
            let record = try document.record(after: old)
            guard record.guest.id.text == name else {
                throw RecordDocument.Fault("it is about guest \(record.guest.id)")
            }
            if let count = kept?.count, count >= most, old == nil { kept = [:] }
            kept?[name] = Kept(bytes: bytes, document: document, record: record)
            return (document, record)
        } catch {
            let isNewer = error.isNewer
            throw ControllerError(
                .precondition,
                "the record \(folder.path)/\(file) \(isNewer ? "cannot be read" : "is broken"): \(error.words)",
                remedy: isNewer
                    ? "use that version, or release guest \(name) with it before this one prepares it"
                    : "remove the file and prepare guest \(name) anew; its entries stay as they are")
        }
    }

    private func writtenDocument(_ name: String, _ bytes: [UInt8]) -> RecordDocument? {
        written.flatMap { $0.name == name && $0.bytes == bytes ? $0.document : nil }
    }

    /// All guests of this boot and network namespace, by name; a record that is broken concerns its guest alone, and is left out.
    package func records() throws(ControllerError) -> [GuestRecord] {
        try recordsAndFaults().records.filter { place(of: $0) == .here }
    }

    /// All guests, by name, wherever they were prepared, and what is wrong with records that are broken.
    package func recordsAndFaults() throws(ControllerError) -> (records: [GuestRecord], faults: [ControllerError]) {
        var records: [GuestRecord] = []
        var faults: [ControllerError] = []
        for name in try names() {
            do throws(ControllerError) {
                if let record = try document(name)?.1 { records.append(record) }
            } catch {
                faults.append(error)
            }
        }
        return (records, faults)
    }

    /// The guests of this network namespace, those of which the kernel has nothing any more, both in natural order, how many there are in
    /// other namespaces, and what is wrong with records that are broken.
    package func nearby() throws(ControllerError) -> (
        here: [GuestRecord], void: [GuestRecord], elsewhere: Int, faults: [ControllerError]
    ) {
        let (records, faults) = try recordsAndFaults()
        return (
            records.filter { place(of: $0) == .here }.inNaturalOrder,
            records.filter { place(of: $0).isVoid }.inNaturalOrder,
            records.count { place(of: $0) == .otherNamespace }, faults
        )
    }

    /// The names of all guests that have a record, of any network namespace.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when they cannot be listed.
    package func names() throws(ControllerError) -> [String] {
        try folder.records(in: Subfolder.guests.rawValue)
    }

    /// The IP addresses that a guest was prepared with, IPv4 first.
    package func ips(of id: GuestID) throws(ControllerError) -> [AnnouncementRequest.Owned] {
        try document(id.text)?.0.ips ?? []
    }

    /// Whether a guest has a record, of whatever network namespace.
    package func knows(_ id: GuestID) -> Bool { folder.exists(Journal.file(id.text)) }

    /// One guest, wherever it was prepared; nil if it is unknown.
    package func record(_ id: GuestID) throws(ControllerError) -> GuestRecord? { try document(id.text)?.1 }

    /// The record of a guest now; nil when it was released since, also if it was prepared anew.
    package func record(_ known: GuestRecord) throws(ControllerError) -> GuestRecord? {
        try document(known.guest.id.text).flatMap { $1.row == known.row ? $1 : nil }
    }

    /// The record of a guest by its name, if it is of this boot and network namespace.
    package func record(named name: String) throws(ControllerError) -> GuestRecord? {
        try document(name).flatMap { place(of: $1) == .here ? $1 : nil }
    }

    /// Which guests a verb is for, by where they were prepared.
    package enum Reach: Sendable {
        /// Those of this boot and network namespace.
        case here
        /// Also those of which the kernel has nothing any more.
        case void
        /// All.
        case anywhere
    }

    /// A guest that must be known.
    ///
    /// - Throws: ``ControllerError`` of code `precondition`.
    package func guest(_ id: GuestID, _ reach: Reach = .here) throws(ControllerError) -> GuestRecord {
        try known(id, reach).1
    }

    func known(_ id: GuestID, _ reach: Reach) throws(ControllerError) -> (RecordDocument, GuestRecord) {
        guard let found = try document(id.text) else { throw .unknown(id, among: (try? names()) ?? []) }
        if reach != .anywhere, let error = refusal(of: found.1, reach) { throw error }
        return found
    }

    /// Why a guest that was prepared elsewhere cannot be worked with; nil where it can.
    package func refusal(of record: GuestRecord, _ reach: Reach = .here) -> ControllerError? {
        let place = place(of: record)
        guard let words = place.words, !(place.isVoid && reach == .void) else { return nil }
        let id = record.guest.id
        return ControllerError(
            .precondition, "guest \(id) \(words)",
            remedy: place.isVoid
                ? "prepare it anew, or forget it: fdbsteer release \(id)"
                : "run fdbsteer there (nsenter --net), or use another --state folder here; if that namespace is gone: "
                    + "fdbsteer release \(id) --forget")
    }

    /// When a record was last written, in nanoseconds since 1970.
    package var changeTime: Int64 { folder.changeTime(of: Subfolder.guests.rawValue) ?? 0 }
}

extension [GuestRecord] {
    /// The same, with vm2 before vm10.
    package var inNaturalOrder: [GuestRecord] {
        sorted { NaturalOrder.isBefore($0.guest.id.text, $1.guest.id.text) }
    }
}

extension ControllerError {
    /// A guest that nobody has prepared in this network namespace.
    ///
    /// - Parameters:
    ///   - folder: where there is no journal at all.
    ///   - names: of the guests that there are.
    static func unknown(
        _ id: GuestID, noJournal folder: StateFolder? = nil, among names: [String] = []
    ) -> ControllerError {
        if let folder {
            return ControllerError(
                .precondition, "guest \(id) is not known" + (folder.emptiness.map { ": \($0)" } ?? ""),
                remedy: "prepare the guest first, or name the right folder by --state or FDBSTEER_STATE",
                reasons: [ControllerError.guestUnknown])
        }
        return ControllerError(
            .precondition, "guest \(id) is not known",
            remedy: (Nearest.question(to: id.text, in: names).map { $0 + " " } ?? "")
                + "prepare it first; \"fdbsteer status\" lists the guests",
            reasons: [ControllerError.guestUnknown])
    }
}
