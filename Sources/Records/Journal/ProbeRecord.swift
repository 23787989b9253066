package import FDB
import JSON
package import Policy
import Switchdev
import System

/// The state of a NIC before a probe: everything that the probe may change. It is written to the journal before the first
/// change.
package struct NICSnapshot: Hashable {
    /// A VF.
    package struct Function: Hashable {
        /// The number of the VF.
        package let number: UInt32
        /// The PCI address.
        package let device: String
        /// The MAC that was set for the VF; all zero for none.
        package let mac: MACAddress
        /// The driver that was bound to the VF.
        package let driver: String?
        /// The only driver that may bind to the VF (`driver_override`).
        package let override: String?
        /// The netdev of the VF's driver, in this namespace.
        package let interface: String?
        /// That netdev was up.
        package let isUp: Bool

        /// Makes a VF from its fields.
        package init(
            number: UInt32, device: String, mac: MACAddress, driver: String?, override: String?, interface: String?,
            isUp: Bool
        ) {
            self.number = number
            self.device = device
            self.mac = mac
            self.driver = driver
            self.override = override
            self.interface = interface
            self.isUp = isUp
        }
    }

    /// The PF's netdev and its interface index.
    package let pf: String
    package let pfIndex: Int32
    /// The address to probe.
    package let address: Address
    /// The VF to probe.
    package let function: Function
    /// Another VF, which sends frames.
    package let sibling: Function?

    /// Makes a snapshot from its fields.
    package init(pf: String, pfIndex: Int32, address: Address, function: Function, sibling: Function?) {
        self.pf = pf
        self.pfIndex = pfIndex
        self.address = address
        self.function = function
        self.sibling = sibling
    }

    /// The prefix of the names of VLAN devices that a probe creates.
    package static let vlanPrefix = "fdbsprobe"
}

extension NICSnapshot {
    /// The form in the journal: a line for the NIC, then one for each VF.
    package var record: String {
        let lines =
            [[pf, "\(pfIndex)", address.description]]
            + [function, sibling].compactMap { $0 }.map { function in
                [
                    "\(function.number)", function.device, function.mac.description, function.driver ?? "-",
                    function.override ?? "-", function.interface ?? "-", function.isUp ? "up" : "down",
                ]
            }
        return lines.map { $0.joined(separator: " ") }.joined(separator: "\n")
    }

    /// - Returns: nil if the text is not in the form of ``record``.
    package init?(record: String) {
        let lines = record.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        guard let first = lines.first, first.count == 3, let index = Int32(first[1]),
            let address = try? Address(first[2])
        else { return nil }
        var functions: [Function] = []
        for words in lines.dropFirst() {
            guard words.count == 7, let number = UInt32(words[0]), let mac = MACAddress(words[2]) else { return nil }
            func word(_ index: Int) -> String? { words[index] == "-" ? nil : words[index] }
            functions.append(
                Function(
                    number: number, device: words[1], mac: mac, driver: word(3), override: word(4),
                    interface: word(5), isUp: words[6] == "up"))
        }
        guard let function = functions.first, functions.count <= 2 else { return nil }
        self.init(
            pf: first[0], pfIndex: index, address: address, function: function,
            sibling: functions.count == 2 ? functions[1] : nil)
    }
}

/// A probe that has not finished, as the journal keeps it.
package struct ProbeRecord: ~Copyable {
    private let journal: Journal
    private let name: String
    package let boot: String
    package let snapshot: NICSnapshot
    private var lock: GuestLock?

    private init(
        _ journal: Journal, _ name: String, boot: String, _ snapshot: NICSnapshot, _ lock: consuming GuestLock?
    ) {
        self.journal = journal
        self.name = name
        self.boot = boot
        self.snapshot = snapshot
        self.lock = lock
    }

    private var file: String { "probes/\(name).json" }
    private var lockName: String { ".probe-\(name)" }

    /// The names of the probes of a journal that have not finished.
    package static func names(in journal: Journal) throws(ControllerError) -> [String] {
        try journal.folder.records(in: "probes")
    }

    /// Reads the record of a probe; nil when there is none, or it is another network namespace's.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` for a file that is no such record.
    package init?(_ name: String, in journal: Journal) throws(ControllerError) {
        let file = "probes/\(name).json"
        guard let bytes = try journal.folder.read(file) else { return nil }
        guard let document = bytes.withUnsafeBytes({ JSON($0) }), let boot = document["boot"]?.text,
            let namespace = document["namespace"]?.integer,
            let snapshot = document["snapshot"]?.text.flatMap(NICSnapshot.init(record:))
        else { throw journal.folder.unreadable(file, "it is no record of a probe") }
        let isHere = Place.isSame(
            document["cookie"]?.integer, journal.cookie, inodes: namespace == journal.namespace)
        // What was changed in an earlier boot is void in every namespace.
        guard isHere || boot != journal.boot else { return nil }
        self.init(journal, name, boot: boot, snapshot, nil)
    }

    /// Records the state of a NIC before a probe changes it, and locks the record.
    package static func begin(_ snapshot: NICSnapshot, in journal: Journal) throws(ControllerError) -> ProbeRecord {
        let name = "\(Stopwatch.realTime)"
        var record = ProbeRecord(journal, name, boot: journal.boot, snapshot, nil)
        guard try record.take() else {
            throw ControllerError(.busy, "another process ends this probe already", remedy: "try again")
        }
        let content = ProbeRecord.content(
            boot: journal.boot, namespace: journal.namespace, cookie: journal.cookie, snapshot: snapshot.record)
        try journal.folder.replace(record.file, by: content, through: "probes/.\(name).new")
        return record
    }

    /// The content of a record's file.
    static func content(boot: String, namespace: Int64, cookie: Int64? = nil, snapshot: String) -> [UInt8] {
        JSON.object(
            [
                .init("version", .integer(1)), .init("boot", .string(boot)),
                .init("namespace", .integer(namespace)),
            ] + (cookie.map { [.init("cookie", .integer($0))] } ?? []) + [.init("snapshot", .string(snapshot))]
        ).file
    }

    /// Deletes the record after everything was restored.
    package func end() throws(ControllerError) {
        try journal.folder.remove(file)
        try journal.folder.remove("locks/\(lockName)")
    }

    /// Whether another process holds the record's lock.
    package var isLocked: Bool { journal.isLocked(lockName) }

    /// Locks the record until this value ends; false if another process has it, or has ended the probe.
    package mutating func take() throws(ControllerError) -> Bool {
        guard let taken = try GuestLock(lockName, in: journal.folder, patience: 0) else { return false }
        lock = consume taken
        return true
    }

    /// The probe has not been ended since its record was read.
    package var isOpen: Bool { journal.folder.exists(file) }
}
