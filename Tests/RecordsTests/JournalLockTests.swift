import Glibc
import Lab
import Policy
import Testing

@testable import Records

/// Claims of several processes.
@Suite struct JournalLockTests {
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
}
