import Glibc
package import JSON
package import Policy
package import Switchdev
import System

/// A stored verdict: it applies to every NIC with the same identity.
package struct StoredVerdict: Hashable, Sendable, Encodable {
    /// The NIC.
    package let nic: NICIdentity
    /// The time of the probe, in nanoseconds since 1970.
    @JSON.Time package private(set) var time: Int64
    /// The verdict.
    package let verdict: MACFilterVerdict
    /// The evidence.
    package let states: [MACFilterCounts]

    /// Makes a stored verdict from its fields.
    package init(nic: NICIdentity, time: Int64, verdict: MACFilterVerdict, states: [MACFilterCounts]) {
        self.nic = nic
        self.time = time
        self.verdict = verdict
        self.states = states
    }

    /// The verdict in words.
    package var words: [String] { verdict.words }
}

/// The file of the verdicts that probes have left on this host, `verdicts.json`: the newest of each NIC's identity.
extension StoredVerdict {
    /// The size in bytes above which the file is not read.
    private static let limit = 1 << 20

    /// Every verdict that was stored on this host, by NIC.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when the file cannot be read, or is broken.
    package static func all(in folder: StateFolder) throws(ControllerError) -> [StoredVerdict] {
        let path = folder.verdictsFile
        let bytes: [UInt8]
        do throws(SystemError) {
            bytes = try SystemFile.contents(of: path, limit: limit + 1)
        } catch {
            if error.errno.rawValue == ENOENT || error.errno.rawValue == ENOTDIR { return [] }
            let words = "cannot read the verdicts about NICs \(path): \(error.errno.text)"
            throw ControllerError(.precondition, words, remedy: FileFault(error.errno.rawValue).remedy)
        }
        let file = bytes.count > limit ? nil : bytes.withUnsafeBytes { JSON($0) }
        let verdicts = file?["verdicts"]?.elements?.map(StoredVerdict.init)
        guard let verdicts, !verdicts.contains(nil) else {
            throw ControllerError(
                .precondition, "the file of the verdicts about NICs is broken: \(path)",
                remedy: "remove it, and probe the NICs again")
        }
        return verdicts.compactMap { $0 }
    }

    /// The verdict about NICs of an identity; nil when none was probed.
    ///
    /// - Throws: as ``all(in:)``.
    package static func read(
        of nic: NICIdentity, in folder: StateFolder
    ) throws(ControllerError) -> StoredVerdict? {
        try all(in: folder).first { $0.nic == nic }
    }

    /// Stores what a probe found.
    ///
    /// - Returns: why it was not stored, which is only a note.
    package static func store(_ report: ProbeReport, now: Int64, in folder: StateFolder) -> String? {
        guard let verdict = report.verdict else { return nil }
        // Takes over what an earlier version has stored there.
        if access(folder.historyFile, F_OK) == 0 { try? History(folder: folder).takeOverVerdicts() }
        let new = StoredVerdict(nic: report.nic, time: now, verdict: verdict, states: report.states)
        return add([new], in: folder).map { "the verdict was not stored: \($0)" }
    }

    /// Adds verdicts to the file, unless it has newer ones about the same NICs.
    ///
    /// - Returns: what failed.
    static func add(_ new: [StoredVerdict], in folder: StateFolder) -> String? {
        do {
            let lock = try HistoryLock(folder)
            var verdicts = try all(in: folder)
            for verdict in new {
                let index = verdicts.firstIndex { $0.nic == verdict.nic }
                if let index, verdicts[index].time > verdict.time { continue }
                if let index { verdicts.remove(at: index) }
                verdicts.append(verdict)
            }
            verdicts.sort {
                ($0.nic.driver, $0.nic.pciID, $0.nic.firmware, $0.nic.eswitchMode)
                    < ($1.nic.driver, $1.nic.pciID, $1.nic.firmware, $1.nic.eswitchMode)
            }
            let file = JSON.object([.init("version", .integer(1)), .init("verdicts", .array(verdicts.map(\.json)))])
            try lock.replace(folder.verdictsFile, with: file.file, isKept: true)
            return nil
        } catch {
            return "\(error)"
        }
    }

    private var json: JSON {
        .object([
            .init("driver", .string(nic.driver)), .init("pci_id", .string(nic.pciID)),
            .init("firmware", .string(nic.firmware)), .init("eswitch_mode", .string(nic.eswitchMode)),
            .init("time_ns", .integer(time)), .init("verdict", .string(verdict.record)),
            .init("states", .string(states.map(\.record).joined(separator: "\n"))),
        ])
    }

    /// - Returns: nil if something is missing, or not in the form that it is written in.
    fileprivate init?(_ json: JSON) {
        guard let driver = json["driver"]?.text, let pciID = json["pci_id"]?.text,
            let firmware = json["firmware"]?.text, let mode = json["eswitch_mode"]?.text,
            let time = json["time_ns"]?.integer, let record = json["verdict"]?.text,
            let verdict = MACFilterVerdict(record: record), let states = json["states"]?.text
        else { return nil }
        self.init(
            nic: NICIdentity(driver: driver, pciID: pciID, firmware: firmware, eswitchMode: mode),
            time: time, verdict: verdict,
            states: states.split(separator: "\n").compactMap { MACFilterCounts(record: String($0)) })
    }
}

extension History {
    /// Moves the verdicts that versions before 3 stored in the database to their file. They stay while that fails.
    func takeOverVerdicts() throws(DatabaseError) {
        guard try database.hasTable("verdict") else { return }
        let verdicts = try database.run(
            """
            SELECT json_object('driver', driver, 'pci_id', pci_id, 'firmware', firmware, 'eswitch_mode', eswitch_mode,
                'time_ns', time_ns, 'verdict', flags, 'states', counts) FROM verdict
            """
        ).compactMap { $0.text(0).flatMap { JSON(text: $0) }.flatMap { StoredVerdict($0) } }
        if StoredVerdict.add(verdicts, in: folder) == nil { try database.execute("DROP TABLE IF EXISTS verdict") }
    }
}
