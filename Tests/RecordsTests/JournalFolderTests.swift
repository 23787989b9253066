import Glibc
import Lab
import Policy
import Testing

@testable import Records

/// The journal's folder: who may write in it, what happens when it is full, and how changes in it are heard.
@Suite struct JournalFolderTests {
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
                #expect("\(try #require(error))".contains("free some space"))
            }
            #expect(try journal.record(record) == settled)
            let names = try Command.run(["ls", "-A", path + "/guests"]).output
            #expect(names == "vm1.json\n", "something was left over: \(names)")
        }
    }

    /// To be root helps nobody who meets a folder or a link in the place of a file.
    @Test(arguments: [
        ("mkdir daemon.lock", "daemon.lock"), ("ln -s nowhere daemon.lock", "daemon.lock"),
        ("rm -r locks; touch locks", "locks/vm1"), ("mkdir locks/vm1", "locks/vm1"),
        ("mkfifo guests/vm1.json", "guests/vm1.json"),
        ("ln -s /nowhere guests/vm1.json", "guests/vm1.json"), ("rm -r guests; touch guests", "guests"),
    ])
    func whatHasThePlaceOfAFileIsToBeMovedAway(_ damage: String, _ file: String) throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            try JournalTests.shell("cd \(folder.path); \(damage)")
            let error = #expect(throws: ControllerError.self) {
                if file.hasPrefix("daemon") { _ = try journal.lockDaemon() }
                if file.hasPrefix("locks") { _ = try GuestLock("vm1", in: journal.folder, patience: 0) }
                if file.hasPrefix("guests") {
                    _ = try journal.names()
                    _ = try journal.record(try GuestID("vm1"))
                }
            }
            #expect(error?.message.contains("\(folder.path)/\(file)") == true)
            #expect(error?.remedy?.contains("move it away") == true, "\(String(describing: error))")
        }
    }

    @Test func aRemedyIsOneForTheCaller() {
        let denied = FileFault(EACCES).remedy
        #expect(denied?.hasPrefix("run as root") == (geteuid() != 0), "\(denied ?? "")")
        #expect(FileFault(EROFS, elsewhere: "go").remedy == "mount it writable, or go")
        #expect(FileFault(EIO).remedy == nil)
    }

    @Test(arguments: ["mkdir $F", "ln -s $G $F", "touch $G; ln -s $G $F", "mkfifo $F"])
    func aDatabaseIsAFile(_ damage: String) throws {
        try JournalTests.inFolder { folder in
            _ = try Journal(folder: folder)
            let other = folder.path + "/other"
            try JournalTests.shell("F=\(folder.historyFile); G=\(other); \(damage)")
            try JournalTests.shell("touch \(folder.eventsFile)")
            let error = #expect(throws: ControllerError.self) {
                try HistoryReading.entries(HistoryFilter(limit: 1), in: folder)
            }
            #expect(error?.remedy?.contains("move it away") == true, "\(String(describing: error))")
            #expect(TextFile.read(other).isEmpty)
        }
    }

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
