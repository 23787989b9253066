import Glibc
import Lab
import Policy
import Switchdev
import TestSupport
import Testing

@testable import Records

/// The backlog that processes leave for the history, and its merge.
struct HistoryBacklogTests {
    private func append(_ folder: Folder, at time: Int64, to side: Side = .standby) throws {
        let backlog = try HistoryBacklog(appending: folder.state)
        try backlog.lock()
        try backlog.append(HistoryRecord(Folder.report(to: side, startedAt: time)).line)
    }

    private func content(_ folder: Folder) throws -> [UInt8] {
        try HistoryBacklog(reading: folder.state)?.content() ?? []
    }

    private func write(_ bytes: [UInt8], _ folder: Folder) throws {
        try TextFile.write(bytes, to: folder.state.backlogFile)
    }

    /// The times of the rows, the oldest first.
    private func times(_ folder: Folder) throws -> [Int64] {
        try History.takeOverBacklog(of: folder.state)
        return try History(folder: folder.state, readOnly: true).entries(guest: nil, limit: 1000).map(\.timeNanoseconds)
            .reversed()
    }

    @Test func aLineSaysAllOfARecord() throws {
        var report = try Folder.report(proof: 7, startedAt: 42)
        report.addresses = [
            .init(address: "02:00:00:00:00:01/7", primitive: "replace", port: "tap\t0", error: nil),
            .init(address: "02:00:00:00:00:02", primitive: "use", port: "", error: "no\nspace \\N \\."),
        ]
        report.notes = ["", "a\ttab, a \\ and a\nline", "."]
        report.failures = ["one", "\\"]
        let record = HistoryRecord(report)
        let line = record.line
        #expect(line.first == 10 && line.last == 10 && line.dropFirst().dropLast().allSatisfy { $0 != 10 })
        #expect(HistoryRecord(line: line.dropFirst().dropLast()) == record)
        // A line that is cut off anywhere is invalid.
        for end in 1..<line.count - 2 { #expect(HistoryRecord(line: line[1...end]) == nil) }
    }

    @Test func rowsAreTheSameByEitherWay() throws {
        let folder = try Folder()
        var report = try Folder.report(proof: 7, startedAt: 42)
        report.addresses = [.init(address: "02:00:00:00:00:01", primitive: "replace", port: "tap0", error: "x")]
        report.notes = ["a", "b"]
        try History(folder: folder.state).append(report)
        let backlog = try HistoryBacklog(appending: folder.state)
        try backlog.append(HistoryRecord(report).line)
        #expect(try times(folder) == [42, 42])
        let history = try History(folder: folder.state, readOnly: true)
        for table in ["redirection", "result", "note"] {
            let rows = try history.database.run("SELECT * FROM \(table)").map { Array($0.dropFirst()) }
            #expect(!rows.isEmpty && rows.prefix(rows.count / 2) == rows.suffix(rows.count / 2), "\(rows)")
        }
    }

    @Test func aRecordThatWasCutOffTakesNoOtherWithIt() throws {
        let folder = try Folder()
        try append(folder, at: 1)
        let whole = try content(folder)
        for length in stride(from: 0, to: whole.count - 1, by: 7) {
            try write(whole + whole.prefix(length), folder)
            try append(folder, at: 2)
            #expect(try times(folder) == [1, 2], "cut off at \(length)")
            #expect(try content(folder).isEmpty)
            for name in ["history.db", "history.db-wal", "history.db-shm"] { unlink(folder.path + "/" + name) }
        }
    }

    @Test func whatWasTakenOverIsNotDoubledByAKill() throws {
        let folder = try Folder()
        try append(folder, at: 1)
        try append(folder, at: 2)
        let old = try content(folder)
        #expect(try times(folder) == [1, 2])
        #expect(try content(folder).isEmpty)
        // Killed between the insertion of the rows and the emptying: the lines still exist.
        try write(old, folder)
        #expect(try times(folder) == [1, 2])
        #expect(try content(folder).isEmpty)
        try write(old, folder)
        try append(folder, at: 3)
        #expect(try times(folder) == [1, 2, 3])
        // Another beginning, shorter or longer than the merged part.
        try append(folder, at: 4)
        #expect(try times(folder) == [1, 2, 3, 4])
        for time in 5..<12 { try append(folder, at: Int64(time)) }
        #expect(try times(folder) == Array(1..<12))
    }

    @Test func whatIsAppendedMeanwhileStays() throws {
        let folder = try Folder()
        try append(folder, at: 1)
        guard let backlog = try HistoryBacklog(reading: folder.state) else {
            Issue.record("no backlog")
            return
        }
        let before = try backlog.content()
        try append(folder, at: 2)
        try backlog.lock()
        try backlog.clear(ifStill: before)
        #expect(throws: DatabaseError.self) { try self.append(folder, at: 3) }
        #expect(try content(folder).count > before.count)
    }

    @Test func theDaemonsRowsComeAfterThoseBeforeThem() throws {
        let folder = try Folder()
        try append(folder, at: 1)
        try History(folder: folder.state).append(Folder.report(startedAt: 2))
        try append(folder, at: 3)
        #expect(try times(folder) == [1, 2, 3])
    }

    @Test func manyProcessesAtOnce() async throws {
        let folder = try Folder()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<4 {
                group.addTask {
                    for step in 0..<100 { try self.append(folder, at: Int64(writer * 100 + step)) }
                }
            }
            group.addTask {
                for _ in 0..<30 { try History.takeOverBacklog(of: folder.state) }
            }
            try await group.waitForAll()
        }
        #expect(try times(folder).sorted() == Array(0..<400))
        #expect(try content(folder).isEmpty)
    }
}
