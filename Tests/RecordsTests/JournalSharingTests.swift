import FDB
import Glibc
import Lab
import Policy
import Synchronization
import System
import Testing

@testable import Records

/// Whose an address or a port is.
@Suite struct JournalSharingTests {
    private final class Sweeper: Sendable {
        let isToEnd = Atomic(false)
        let hasEnded = Atomic(false)
    }

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

    /// Who begins to wait has the lock before the file is there.
    @Test func aWaitThatBeginsWhileOthersSweepIsNotEnded() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let wait = SignalWait(signals: [try Signal("carrier:tap0=up")], timeout: 1_000_000_000)
            let sweeper = Sweeper()
            try BackgroundThread.start {
                let sweeping = try? Journal(folder: folder)
                while !sweeper.isToEnd.load(ordering: .relaxed) { try? sweeping?.sweepMarks() }
                sweeper.hasEnded.store(true, ordering: .relaxed)
            }
            defer {
                sweeper.isToEnd.store(true, ordering: .relaxed)
                while !sweeper.hasEnded.load(ordering: .relaxed) { sleepNanoseconds(1_000_000) }
            }
            for _ in 0..<1000 {
                let waiting = try Waiting(wait, for: GuestID("vm1"), goal: .standby, now: 1, in: journal)
                let isWanted = waiting.isWanted
                #expect(isWanted)
            }
            // What a dead process left goes, with its lock.
            try TextFile.write("{}", to: folder.path + "/waits/vm1.json")
            try journal.sweepMarks()
            #expect(SystemFile.names(in: folder.path + "/waits").isEmpty)
            #expect(!SystemFile.names(in: folder.path + "/locks").contains(".wait-vm1"))
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
                var claim = try journal.claim(second.guest.id)
                let error = #expect(throws: ControllerError.self) { try claim.adopt([address]) }
                #expect(error?.message == "address 52:54:00:00:00:01 belongs to guest vm1")
                try claim.adopt([Address("52:54:00:00:00:03"), Address("52:54:00:00:00:01/5")])
                try claim.reread()
                #expect(claim.record.guest.adopted.count == 2)
                let neighbours = try journal.neighbours(
                    of: record.guest.id, ports: [], addresses: [Address("52:54:00:00:00:03"), address], bridge: 3)
                #expect(neighbours.owners == [:], "the address is the guest's own")
                #expect(try neighbours.squatters == [Address("52:54:00:00:00:03"): "vm2"])
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
}
