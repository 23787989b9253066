import FDB
import Lab
import Policy
import Switchdev
import Testing

@testable import Records

/// Where a guest was prepared: in this boot and network namespace, or elsewhere.
@Suite struct PlaceTests {
    private static func record(
        _ journal: Journal, boot: String? = nil, namespace: Int64? = nil, cookie: Int64?
    ) throws -> GuestRecord {
        GuestRecord(
            row: 1, guest: try JournalTests.guest(), phase: .pinned, boot: boot ?? journal.boot,
            namespace: namespace ?? journal.namespace, cookie: cookie, proof: .missing, revision: 1)
    }

    @Test func aNamespaceIsToldByItsCookieAndNotByItsInode() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let own = try #require(journal.cookie)
            #expect(try journal.place(of: PlaceTests.record(journal, cookie: own)) == .here)
            // Its inode was given again.
            #expect(try journal.place(of: PlaceTests.record(journal, cookie: own + 1_000_000)) == .goneNamespace)
            #expect(try journal.place(of: PlaceTests.record(journal, boot: "other", cookie: own)) == .earlierBoot)
            // Records of earlier versions have the inode alone.
            #expect(try journal.place(of: PlaceTests.record(journal, cookie: nil)) == .here)
            #expect(try journal.place(of: PlaceTests.record(journal, namespace: 17, cookie: nil)) == .otherNamespace)
        }
    }

    @Test(.enabled(if: Namespace.obstacle == nil, "needs root: network namespaces cannot be made"))
    func aLiveNamespaceIsNeverTakenForAGoneOne() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let outside = try PlaceTests.record(journal, cookie: journal.cookie)
            try Namespace.run {
                let inside = try Journal(folder: folder)
                #expect(inside.place(of: outside) == .otherNamespace)
                #expect(try inside.place(of: PlaceTests.record(inside, cookie: inside.cookie)) == .here)
                #expect(inside.cookie != outside.cookie && inside.namespace != outside.namespace)
            }
        }
    }

    /// Marks of earlier versions have the namespace's inode in the place of its cookie.
    @Test func theMarksOfEarlierVersionsBindToo() throws {
        try JournalTests.inFolder { folder in
            let journal = try Journal(folder: folder)
            let guest = try JournalTests.guest()
            let old = try PlaceTests.record(journal, cookie: nil)
            try journal.make(old, RecordDocument(old))
            #expect(try journal.owner(of: guest.addresses[0], bridge: 3) == "vm1")
            let error = #expect(throws: ControllerError.self) {
                _ = try JournalTests.prepared(
                    journal, JournalTests.guest("vm2", ["52:54:00:00:00:01"], primary: 14, standby: 15))
            }
            #expect(error?.message.contains("belongs to guest vm1") == true)
            #expect(try journal.neighbours(of: nil, ports: [4], addresses: [], bridge: 3).ports == [4: "vm1"])
            try journal.claim(guest.id).write(.removed)
            #expect(try journal.owner(of: guest.addresses[0], bridge: 3) == nil)
            #expect(try journal.folder.names(in: "addresses").isEmpty && journal.folder.names(in: "ports").isEmpty)
        }
    }
}
