import FDB
import Glibc
import JSON
import Lab
import Policy
import Switchdev
import TestSupport
import Testing

@testable import Records

/// The records of guests: what is written, read, kept and refused.
@Suite struct JournalTests {
    static func inFolder(_ body: (StateFolder) throws -> Void) throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        try body(StateFolder(folder.path))
    }

    static func shell(_ text: String) throws {
        let command = try Command.run(["sh", "-c", text])
        #expect(command.exitCode == 0, "\(text): \(command.errors)")
    }

    static func guest(
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

    static func prepared(_ journal: Journal, _ guest: GuestInterface) throws -> GuestRecord {
        do {
            let claim = try journal.claim(preparing: guest.id) { () throws(ControllerError) in guest }
            try claim.write(.settled(.primary, proof: .earlier(.proven), endsBracket: false))
        }
        return try #require(try journal.record(guest.id))
    }

    static func prepared(_ journal: Journal, _ name: String = "vm1") throws -> GuestRecord {
        try prepared(journal, guest(name))
    }

    static func isHeld(_ record: GuestRecord, in journal: Journal) throws -> Bool {
        let claim = try journal.claim(record.guest.id, row: record.row)
        return claim == nil
    }

    /// Whether a plan by a record can still be carried out.
    static func isCurrent(_ record: GuestRecord, in journal: Journal) throws -> Bool {
        let claim = try journal.claim(record)
        return claim != nil
    }

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
            #expect(try journal.record(other.id)?.guest.fromPVID == [other.addresses[0]])
            // Where a port is in hardware, and the namespace that no other is taken for.
            var switched = try JournalTests.guest("vm3", ["52:54:00:00:00:05"], primary: 24)
            switched.primary = PortIdentity(name: "rep", index: 24, isEswitchPort: true)
            switched.primary?.devlink = "pci/0000:03:00.0/2"
            let third = try JournalTests.prepared(journal, switched)
            #expect(third.guest == switched && third.cookie == journal.cookie)
        }
    }

    @Test(arguments: ["\"hold\"", "\"\"", "5", "{}"])
    func aModeOfReplayThatIsNotKnownIsAFault(_ mode: String) throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            var guest = try JournalTests.guest()
            guest.replay = .replay
            #expect(try JournalTests.prepared(journal, guest).guest == guest)
            let file = folder.path + "/guests/\(guest.id.text).json"
            let text = TextFile.read(file).replacing("\"replay\" : \"replay\"", with: "\"replay\" : \(mode)")
            try TextFile.write(text, to: file)
            #expect(try journal.recordsAndFaults().faults.first?.message.contains("is broken: \"replay\" is ") == true)
        }
    }

    /// Otherwise the daemon would write it again and again.
    @Test func whatTheDaemonHasWrittenItselfIsToldFromWhatOthersHave() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let first = try journal.write([], followed: [])
            #expect(first != nil && first == journal.conditionsIdentity)
            let lock = try journal.lockDaemon()
            let isKept = journal.isKept(lock)
            #expect(isKept)
            let second = try journal.write([], followed: [])
            #expect(first != second && second == journal.conditionsIdentity)
            try JournalTests.shell("printf x >>\(folder.path)/conditions.json; rm \(folder.path)/daemon.lock")
            let isKeptStill = journal.isKept(lock)
            #expect(second != journal.conditionsIdentity && !isKeptStill)
        }
    }

    @Test func neighboursAreReadAsTheyWereWritten() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            var guest = try JournalTests.guest()
            let (four, six) = (try #require(IPAddress("192.0.2.7")), try #require(IPAddress("2001:db8::7")))
            let mac = guest.addresses[0].mac
            let bridge = PortIdentity(name: "br0.10", index: 9, isEswitchPort: false)
            guest.neighbours = [four, six].map { GuestNeighbour(ip: $0, mac: mac, interface: bridge) }
            let found = [
                IPNeighbour(
                    ip: four, interface: 9, mac: mac, state: .noARP, flags: .externallyLearned,
                    protocol: GroupProtocol(rawValue: 11)),
                IPNeighbour(ip: six, interface: 9, mac: nil, state: []),
            ]
            do {
                let claim = try journal.claim(preparing: guest.id, neighbours: { found }) {
                    () throws(ControllerError) in guest
                }
                try claim.write(.settled(.primary, proof: .earlier(.proven), endsBracket: false))
                // What shows nothing about hardware takes nothing away.
                try claim.write(.confirmed(.primary), shown: .nothingToProve)
            }
            let record = try #require(try journal.record(guest.id))
            #expect(record.guest == guest && record.proof == .proven)
            var claim = try journal.claim(guest.id)
            #expect(claim.foundNeighbours == found)
            try claim.write(.settled(.primary, proof: .shown, endsBracket: false), shown: .nothingToProve)
            try claim.reread()
            #expect(claim.record.proof == .proven && claim.record.guest == guest)
            try claim.write(.settled(.standby, proof: .shown, endsBracket: false), shown: .nothingToProve)
            try claim.reread()
            #expect(claim.record.proof == .nothingToProve)
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
            #expect(!record.isBracketForCarrier && record.since > 0)
            // Who makes its copy anew has not opened it.
            let daemon = try Journal(folder: folder.worked(by: Doer(label: "fdbsteerd", user: 0)))
            let other = Bracket(openedAt: 17, means: .clsact, ownsClsact: true, isForCarrier: true)
            _ = consume claim
            try daemon.claim(id).write(.bracket(.bracketed, other, side: .primary, goal: .standby, proof: nil))
            let remade = try #require(try journal.record(id))
            #expect(remade.bracket == other && remade.by == record.by && remade.since == record.since)
            try daemon.claim(id).write(.bracket(.closing, other, side: .primary, goal: .standby, proof: nil))
            try daemon.claim(id).write(.bracket(.bracketed, other, side: .primary, goal: .standby, proof: nil))
            #expect(try journal.record(id)?.isBracketForCarrier == true)
            try journal.claim(id).write(.settled(.standby, proof: .shown, endsBracket: true), shown: .proven)
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
            #expect(try journal.record(record)?.guest.primary?.index == 40)
            #expect(text.contains("\"version\" : 1"), "what earlier programs understand keeps their version")
            try TextFile.write(text.replacing("\"version\" : 1", with: "\"version\" : 4"), to: path)
            let error = #expect(throws: ControllerError.self) { try journal.record(record.guest.id) }
            #expect("\(try #require(error))".contains("vm1.json cannot be read: it was written by a newer fdbsteer"))
            #expect("\(try #require(error))".contains("use that version") && error?.remedy?.contains("remove") == false)
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
}
