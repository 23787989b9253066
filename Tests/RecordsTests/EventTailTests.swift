import Glibc
import Lab
import Policy
import TestSupport
import Testing

@testable import Records

/// The log of events is read as it grows, whatever becomes of its files.
struct EventTailTests {
    private func times(_ tail: inout EventTail) throws -> [Int64] {
        var times: [Int64] = []
        try tail.read { times.append($0.time) }
        return times
    }

    @Test func nothingIsMissedOrDoubledAcrossRotations() throws {
        let folder = try Folder()
        var tail = try EventTail(folder.state) { _ in }
        var (written, read): ([Int64], [Int64]) = ([], [])
        for time in 1...400 as ClosedRange<Int64> {
            // A small limit: a rotation every few lines, and at times several between two looks.
            try EventLog(folder.state, limit: 2000).append(Folder.report(startedAt: time).eventLine(by: Doer()))
            written.append(time)
            if time % 7 == 0 { read += try times(&tail) }
        }
        read += try times(&tail)
        #expect(read == written)
    }

    @Test func aLateLineOfAFileThatWasPutAsideIsRead() throws {
        let folder = try Folder()
        let log = EventLog(folder.state)
        try log.append(Folder.report(startedAt: 1).eventLine(by: Doer()))
        var tail = try EventTail(folder.state) { _ in }
        let late = open(folder.state.eventsFile, O_WRONLY | O_APPEND)
        defer { close(late) }
        try HistoryLock(folder.state).rotate(ifAbove: 0)
        try log.append(Folder.report(startedAt: 2).eventLine(by: Doer()))
        let read1 = try times(&tail)
        #expect(read1 == [2])
        let line = try Folder.report(startedAt: 3).eventLine(by: Doer())
        #expect(write(late, line, line.count) == line.count)
        let read2 = try times(&tail)
        #expect(read2 == [3])
    }

    @Test func halfOfALineIsWaitedForAndGarbageIsPassedOver() throws {
        let folder = try Folder()
        try EventLog(folder.state).append(Folder.report(startedAt: 1).eventLine(by: Doer()))
        var last: [Int64] = []
        var tail = try EventTail(folder.state, last: 5) { last.append($0.time) }
        #expect(last == [1])
        let file = open(folder.state.eventsFile, O_WRONLY | O_APPEND)
        defer { close(file) }
        let line = Array("\nnonsense\n{\"event\":".utf8) + (try Folder.report(startedAt: 2).eventLine(by: Doer()))
        _ = write(file, line, 40)
        let read3 = try times(&tail)
        #expect(read3 == [])
        _ = write(file, Array(line[40...]), line.count - 40)
        let read4 = try times(&tail)
        #expect(read4 == [2])
        let read5 = try times(&tail)
        #expect(read5 == [])
    }

    /// The last events are those of all files together, the oldest first.
    @Test func theLastEventsAreHandedOverInTheirOrder() throws {
        let folder = try Folder()
        for time in 1...30 as ClosedRange<Int64> {
            try EventLog(folder.state, limit: 4000).append(Folder.report(startedAt: time).eventLine(by: Doer()))
        }
        for last in [1, 7, 12] {
            var handed: [Int64] = []
            var tail = try EventTail(folder.state, last: last) { handed.append($0.time) }
            #expect(handed == Array((31 - Int64(last))...30))
            let read = try times(&tail)
            #expect(read == [])
        }
        var all: [Int64] = []
        _ = try EventTail(folder.state, last: 1000) { all.append($0.time) }
        #expect(all.last == 30 && all == all.sorted())
    }
}
