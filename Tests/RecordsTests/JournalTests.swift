import CNetlink
import FDB
import Glibc
import JSON
import Lab
import Policy
import Switchdev
import System
import TestSupport
import Testing

@testable import Records

/// The journal's files.
@Suite struct JournalTests {
    private static func inFolder(_ body: (StateFolder) throws -> Void) throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        try body(StateFolder(folder.path))
    }

    private static func shell(_ text: String) throws {
        let command = try Command.run(["sh", "-c", text])
        #expect(command.exitCode == 0, "\(text): \(command.errors)")
    }

    private static func guest(
        _ name: String = "vm1", _ addresses: [String] = ["52:54:00:00:00:01"], primary: Int32 = 4, standby: Int32 = 5,
        uplink: Int32? = nil
    ) throws -> GuestInterface {
        func port(_ name: String, _ index: Int32) -> PortIdentity {
            PortIdentity(name: name, index: index, isEswitchPort: false, learningToRestore: true)
        }
        var guest = GuestInterface(
            id: try GuestID(name), bridge: PortIdentity(name: "br0", index: 3, isEswitchPort: false),
            primary: port("p\(primary)", primary), standby: port("s\(standby)", standby),
            uplink: uplink.map { port("u\($0)", $0) }, addresses: try addresses.map { try Address($0) }, side: .primary,
            isSticky: false)
        guest.kind = .netFailover
        return guest
    }

    private static func prepared(_ journal: Journal, _ guest: GuestInterface) throws -> GuestRecord {
        do {
            let claim = try journal.claim(preparing: guest.id) { () throws(ControllerError) in guest }
            try claim.write(.settled(.primary, proof: .earlier(.proven), endsBracket: false))
        }
        return try #require(try journal.record(guest.id))
    }

    private static func prepared(_ journal: Journal, _ name: String = "vm1") throws -> GuestRecord {
        try prepared(journal, guest(name))
    }

    private static func isHeld(_ record: GuestRecord, in journal: Journal) throws -> Bool {
        let claim = try journal.claim(record.guest.id, row: record.row)
        return claim == nil
    }

    /// Whether a plan by a record can still be carried out.
    private static func isCurrent(_ record: GuestRecord, in journal: Journal) throws -> Bool {
        let claim = try journal.claim(record)
        return claim != nil
    }

    // MARK: - Records

    @Test func aRecordIsReadAsItWasWritten() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            var guest = try JournalTests.guest("vm1", ["52:54:00:00:00:01/10", "52:54:00:00:00:02/4094"], uplink: 6)
            guest.nic = LegacyNIC(
                pf: PortIdentity(name: "pf0", index: 4, isEswitchPort: false), vf: 7, hadEntry: true,
                hadMAC: MACAddress(value: 0x0200_0000_0001), order: .breakBeforeMake)
            let record = try JournalTests.prepared(journal, guest)
            #expect(record.guest == guest && record.phase == .pinned && record.proof == .proven && record.goal == nil)
            #expect(record.boot == journal.boot && record.namespace == journal.namespace && record.revision == 2)
            #expect(record.since > record.row && !record.by.isEmpty)
            #expect(try journal.names() == ["vm1"])
            // Where an address has its VLAN from.
            let other = try JournalTests.guest("vm2", ["52:54:00:00:00:03/10", "52:54:00:00:00:04/20"], primary: 14)
            let given = [try Address("52:54:00:00:00:03"), other.addresses[1]]
            try journal.claim(preparing: other.id, given: given) { () throws(ControllerError) in other }
                .write(.settled(.primary, proof: .shown, endsBracket: false))
            let addresses = try #require(
                JSON(text: TextFile.read(folder.path + "/guests/vm2.json"))?["addresses"]?.elements)
            #expect(addresses.map { $0["vlan_from"]?.text } == ["pvid", "given"])
        }
    }

    @Test func aBracketIsRememberedUntilItIsSettled() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let id = try JournalTests.prepared(journal).guest.id
            let bracket = Bracket(openedAt: 17, means: .nftables, ownsClsact: true)
            let claim = try journal.claim(id)
            try claim.write(.bracket(.opening, bracket, side: .primary, goal: .standby, proof: nil))
            #expect(try journal.record(id)?.proof == .proven)
            try claim.write(
                .bracket(.bracketed, bracket, side: .primary, goal: .standby, proof: .earlier(.missing)))
            let record = try #require(try journal.record(id))
            #expect(record.bracket == bracket && record.phase == .bracketed && record.goal == .standby)
            #expect(record.entrySide == .standby && record.guest.side == .primary && record.proof == .missing)
            try claim.write(.settled(.standby, proof: .shown, endsBracket: true), shown: .proven)
            let settled = try #require(try journal.record(id))
            #expect(settled.bracket == nil && settled.phase == .pinned && settled.guest.side == .standby)
            #expect(settled.proof == .proven && settled.goal == nil)
        }
    }

    /// Readers see what is about to begin, and a plan by a record that others have written since is not carried out.
    @Test func anIntentIsSeenByOthers() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let record = try JournalTests.prepared(journal)
            let reader = try #require(try Journal(reading: folder))
            for (phase, goal) in [(GuestPhase.switching, Side.standby), (.releasing, .remote)] {
                do {
                    let claim = try journal.claim(record.guest.id)
                    try claim.write(.intent(phase, goal: goal))
                    let seen = try #require(try reader.records().first)
                    #expect(seen.phase == phase && seen.goal == goal && seen.guest.side == .primary)
                }
                #expect(try !JournalTests.isCurrent(record, in: journal), "planned before another had begun")
            }
            let begun = try #require(try reader.record(record))
            #expect(try JournalTests.isCurrent(begun, in: journal))
        }
    }

    /// Who waits holds nobody up but another who waits.
    @Test func aWaitIsShownWhileItLasts() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let record = try JournalTests.prepared(journal)
            let wait = SignalWait(signals: [.word], timeout: 1_000_000_000)
            do {
                let waiting = try Waiting(wait, for: record.guest.id, goal: .standby, now: 5, in: journal)
                defer { withExtendedLifetime(waiting) {} }
                let view = try #require(journal.wait(of: "vm1"))
                #expect(view.until == 1_000_000_005 && view.goal == .standby && view.signals == ["word"])
                let error = #expect(throws: ControllerError.self) {
                    _ = try Waiting(wait, for: record.guest.id, goal: .standby, now: 5, in: journal)
                }
                #expect(error?.code == .busy)
                #expect(try JournalTests.isCurrent(record, in: journal))
            }
            #expect(journal.wait(of: "vm1") == nil)
            // What a killed process left is not believed.
            try TextFile.write("{}", to: folder.path + "/waits/vm1.json")
            #expect(journal.wait(of: "vm1") == nil)
        }
    }

    /// What a newer version has added is kept by every write, and a record whose meaning it has changed is refused by name.
    @Test func whatIsNotKnownIsKept() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let record = try JournalTests.prepared(journal)
            let path = folder.path + "/guests/vm1.json"
            var text = TextFile.read(path)
            text.replace("\"id\" :", with: "\"new\" : {\"a\" : [1]}, \"id\" :")
            text.replace("\"declared_by\"", with: "\"derived\" : \"pvid\", \"declared_by\"")
            text.replace("\"role\" : \"primary\"", with: "\"devlink\" : \"pci/0\", \"role\" : \"primary\"")
            try TextFile.write(text, to: path)
            do {
                let claim = try journal.claim(record.guest.id)
                try claim.write(.intent(.switching, goal: .standby))
                try claim.write(.settled(.standby, proof: .shown, endsBracket: false))
                try claim.rebind(primary: PortIdentity(name: "p4", index: 40, isEswitchPort: true))
            }
            do {
                let claim = try journal.claim(record.guest.id)
                try claim.adopt([Address("52:54:00:00:00:09")])
                try claim.drop([Address("52:54:00:00:00:09")])
            }
            let value = try #require(JSON(text: TextFile.read(path)))
            #expect(value["new"]?["a"]?.elements == [.integer(1)])
            #expect(value["addresses"]?.elements?.first?["derived"]?.text == "pvid")
            #expect(value["ports"]?.elements?.first?["devlink"]?.text == "pci/0")
            #expect(try journal.record(record)?.guest.primary.index == 40)
            try TextFile.write(text.replacing("\"version\" : 1", with: "\"version\" : 2"), to: path)
            let error = #expect(throws: ControllerError.self) { try journal.record(record.guest.id) }
            #expect("\(try #require(error))".contains("vm1.json is broken: it was written by a newer fdbsteer"))
        }
    }

    /// A record that is broken is named, and concerns its guest alone.
    @Test(arguments: [
        "rm $f && mkdir $f", "rm $f && mkfifo $f", "rm $f && ln -s /etc/passwd $f", "truncate -s 0 $f",
        "truncate -s 99 $f",
        "truncate -s 9M $f", "head -c 4000 /dev/urandom >$f", "echo '[]' >$f", "echo '{}' >$f",
        "echo '{\"version\":1}' >$f",
        "sed -i s/vm2/vm3/ $f", "sed -i s/pinned/pinnned/ $f",
        "sed -i 's/\"ifindex\" : 4/\"ifindex\" : 99999999999/' $f",
        "sed -i s/52:54:00/52:54:/ $f", "sed -i 's/\"standby\"/\"stand\"/' $f",
    ])
    func aBrokenRecordConcernsItsGuestAlone(_ damage: String) throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let first = try JournalTests.prepared(journal, "vm1")
            let second = try JournalTests.prepared(
                journal, try JournalTests.guest("vm2", ["52:54:00:00:00:02"], primary: 4, standby: 8))
            try JournalTests.shell("f=\(folder.path)/guests/vm2.json; \(damage)")
            let (records, faults) = try journal.recordsAndFaults()
            #expect(records == [first] && faults.count == 1)
            #expect("\(faults)".contains("guests/vm2.json"), "\(faults)")
            let error = #expect(throws: ControllerError.self) { _ = try journal.claim(second.guest.id) }
            #expect(error?.code == .precondition)
            try journal.claim(first.guest.id).write(.intent(.switching, goal: .standby))
            #expect(try journal.record(first)?.phase == .switching)
        }
    }

    /// Bytes that no fdbsteer wrote: no trap, and a record or a fault.
    @Test func hostileRecordsDoNotTrap() throws {
        var dice = Dice(3)
        let guest = try JournalTests.guest("vm1", ["52:54:00:00:00:01/10"], uplink: 6)
        let record = GuestRecord(
            row: 1, guest: guest, phase: .bracketed, goal: .standby, boot: "b", namespace: 1, proof: .missing,
            revision: 1, bracket: Bracket(openedAt: 1, means: .clsact, ownsClsact: true))
        let seed = RecordDocument(record).bytes
        let pieces = ["{", "}", "[", "]", "\"", ":", ",", "-", "99999999999999999999", "null", "\\u0000", "\u{fe0f}"]
        var read = 0
        for _ in 0..<20_000 {
            var bytes = seed
            for _ in 0...Int.random(in: 0...3, using: &dice) {
                let position = Int.random(in: 0..<bytes.count, using: &dice)
                switch Int.random(in: 0..<4, using: &dice) {
                case 0: bytes[position] = .random(in: 0...255, using: &dice)
                case 1: bytes.remove(at: position)
                case 2: bytes.insert(contentsOf: (pieces.randomElement(using: &dice) ?? "").utf8, at: position)
                default: bytes.removeSubrange(position..<min(bytes.count, position + 9))
                }
            }
            guard let document = RecordDocument(bytes), (try? document.record()) != nil else { continue }
            read += 1
            #expect(RecordDocument(document.bytes) == document)
        }
        #expect(read > 100 && read < 19_900, "\(read)")
    }

    // MARK: - Sharing

    @Test func whoseAPortIs() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let first = try JournalTests.prepared(
                journal, try JournalTests.guest("vm1", ["52:54:00:00:00:01"], primary: 10, standby: 20))
            let second = try JournalTests.prepared(
                journal, try JournalTests.guest("vm2", ["52:54:00:00:00:02"], primary: 11, standby: 20))
            func used(_ ports: [Int32], byOthersThan record: GuestRecord) throws -> [Int32] {
                let claim = try journal.claim(record.guest.id)
                var used: [Int32] = []
                for port in ports where try claim.isUsedByOthers(port) { used.append(port) }
                return used
            }
            // The bridge is nobody's port.
            #expect(try used([3, 10, 11, 20, 21], byOthersThan: first) == [11, 20])
            #expect(try used([10, 20], byOthersThan: second) == [10, 20])
            try journal.claim(second.guest.id).rebind(
                primary: PortIdentity(name: "p11", index: 12, isEswitchPort: false))
            #expect(try used([11, 12], byOthersThan: first) == [12])
            try journal.claim(second.guest.id).write(.removed)
            #expect(try used([11, 12, 20], byOthersThan: first) == [])
        }
    }

    @Test func whoseAnAddressIs() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let record = try JournalTests.prepared(journal)
            let address = try Address("52:54:00:00:00:01")
            #expect(try journal.owner(of: address, bridge: 3) == "vm1" && journal.owner(of: address, bridge: 4) == nil)
            let second = try JournalTests.prepared(
                journal, try JournalTests.guest("vm2", ["52:54:00:00:00:02"], primary: 11, standby: 21))
            do {
                let claim = try journal.claim(second.guest.id)
                let error = #expect(throws: ControllerError.self) { try claim.adopt([address]) }
                #expect(error?.message == "address 52:54:00:00:00:01 belongs to guest vm1")
                try claim.adopt([Address("52:54:00:00:00:03"), Address("52:54:00:00:00:01/5")])
                #expect(claim.adopted.count == 2)
            }
            #expect(try journal.record(second)?.guest.addresses.count == 3)
            #expect(try journal.owner(of: Address("52:54:00:00:00:03"), bridge: 3) == "vm2")
            let error = #expect(throws: ControllerError.self) {
                _ = try JournalTests.prepared(
                    journal, JournalTests.guest("vm3", ["52:54:00:00:00:03"], primary: 12, standby: 22))
            }
            #expect(error?.message.contains("belongs to guest vm2") == true)
            #expect(access(folder.path + "/locks/vm3", F_OK) != 0, "a refused guest has left its lock")
            // A mark without a record binds nobody.
            unlink(folder.path + "/guests/vm1.json")
            #expect(try journal.owner(of: address, bridge: 3) == nil)
            try journal.sweepMarks()
            let marks = SystemFile.names(in: folder.path + "/addresses")
            #expect(marks.count == 3 && !marks.contains { $0.hasSuffix("-52:54:00:00:00:01") }, "\(marks)")
            #expect(SystemFile.names(in: folder.path + "/ports").count == 2)
            _ = record
        }
    }

    // MARK: - Locks

    @Test func aGuestIsClaimedOnce() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let other = try Journal(folder: folder)
            let record = try JournalTests.prepared(journal)
            do {
                let claim = try journal.claim(record.guest.id)
                #expect(claim.record == record && other.isLocked(record))
                #expect(other.holder(of: "vm1")?.pid == getpid())
                for one in [journal, other] {
                    #expect(try JournalTests.isHeld(record, in: one))
                    let error = #expect(throws: ControllerError.self) { _ = try one.claim(record.guest.id) }
                    #expect(error?.code == .busy && error?.message.contains("process \(getpid())") == true)
                }
                // A dry run takes no lock, and needs none.
                let seen = try other.claim(record.guest.id, onlyReads: true).record
                #expect(seen == record)
            }
            #expect(!other.isLocked(record))
            #expect(try !JournalTests.isHeld(record, in: other))
        }
    }

    /// A lock whose file was removed by who held it holds nobody off.
    @Test func aLockOfARemovedFileIsNone() async throws {
        let temporary = try TemporaryFolder()
        defer { temporary.remove() }
        let folder = StateFolder(temporary.path)
        let journal = try Journal(folder: folder)
        let record = try JournalTests.prepared(journal)
        let waiting = Task.detached {
            let journal = try Journal(folder: folder)
            for _ in 0..<500 {
                let claim = try journal.claim(record.guest.id, row: record.row, patience: 1_000_000_000)
                if claim == nil { return true }
            }
            return false
        }
        do {
            let claim = try journal.claim(record.guest.id)
            usleep(20_000)
            try claim.write(.removed)
        }
        #expect(try await waiting.value, "a removed guest was claimed")
        let again = try JournalTests.prepared(journal)
        #expect(again.row != record.row)
        let claim = try journal.claim(again.guest.id)
        #expect(access(folder.path + "/locks/vm1", F_OK) == 0 && journal.isLocked(claim.record))
    }

    /// Two processes prepare guests with one address: one of them has it.
    @Test func anAddressIsGivenOnce() async throws {
        let temporary = try TemporaryFolder()
        defer { temporary.remove() }
        let folder = StateFolder(temporary.path)
        for round in 0..<20 {
            let address = "52:54:00:00:01:\(round < 10 ? "0" : "")\(round)"
            let made = await withTaskGroup(of: Bool.self) { group in
                for number in 0..<4 {
                    group.addTask {
                        let guest = try? JournalTests.guest(
                            "vm\(round)-\(number)", [address], primary: Int32(10 + number), standby: 50)
                        guard let guest, let journal = try? Journal(folder: folder) else { return false }
                        return (try? JournalTests.prepared(journal, guest)) != nil
                    }
                }
                return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            #expect(made == 1)
        }
    }

    // MARK: - The folder

    @Test(.enabled(if: geteuid() == 0, "needs root: another owner")) func aFolderOfOthersIsRefused() throws {
        for damage in ["chown 65534 $d", "chmod 777 $d", "chmod 770 $d"] {
            try JournalTests.inFolder { folder in
                _ = try Journal(folder: folder)
                try JournalTests.shell("d=\(folder.path); \(damage)")
                for open in [{ _ = try Journal(reading: folder) }, { _ = try Journal(folder: folder) }] {
                    let error = #expect(throws: ControllerError.self, "\(damage)") { try open() }
                    #expect(error?.message.contains("others could change records in it") == true)
                }
            }
        }
        try JournalTests.inFolder { folder in
            try JournalTests.shell("mkdir \(folder.path)/real; ln -s real \(folder.path)/link")
            #expect(throws: ControllerError.self) { try Journal(folder: StateFolder(folder.path + "/link")) }
        }
    }

    /// What is about to be done is refused by a full file system, and what was begun can be ended on one.
    @Test(.enabled(if: geteuid() == 0, "needs root: a file system of its own")) func aFullFileSystem() throws {
        try JournalTests.inFolder { parent in
            let path = parent.path + "/small"
            try JournalTests.shell("mkdir \(path) && mount -t tmpfs -o size=64k,mode=750 none \(path)")
            defer { _ = try? Command.run(["umount", path]) }
            let folder = StateFolder(path)
            let journal = try Journal(folder: folder)
            let record = try JournalTests.prepared(journal)
            func fill() throws { _ = try Command.run(["dd", "if=/dev/zero", "of=\(path)/filling", "bs=1k"]) }
            do {
                let claim = try journal.claim(record.guest.id)
                try claim.write(.intent(.switching, goal: .standby))
                try fill()
                try claim.write(.settled(.standby, proof: .shown, endsBracket: false))
            }
            let settled = try #require(try journal.record(record))
            #expect(settled.phase == .pinned && settled.guest.side == .standby)
            try fill()
            do {
                let claim = try journal.claim(record.guest.id)
                let error = #expect(throws: ControllerError.self) {
                    try claim.write(.intent(.switching, goal: .primary))
                }
                #expect("\(try #require(error))".contains("nothing was changed"))
            }
            #expect(try journal.record(record) == settled)
            let names = try Command.run(["ls", "-A", path + "/guests"]).output
            #expect(names == "vm1.json\n", "something was left over: \(names)")
        }
    }

    // MARK: - Hearing

    @Test func whatOthersDoIsHeard() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let watch = try JournalWatch(folder)
            let record = try JournalTests.prepared(journal)
            var changes = watch.changes()
            #expect(changes.guests == ["vm1"] && changes.locks == ["vm1"] && !changes.isReplaced && !changes.areLost)
            try journal.claim(record.guest.id).write(.removed)
            changes = watch.changes()
            #expect(changes.guests == ["vm1"])
            #expect(watch.changes().guests.isEmpty)
            try JournalTests.shell("mv \(folder.path)/guests \(folder.path)/away")
            #expect(watch.changes().isReplaced)
        }
    }
}
