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
