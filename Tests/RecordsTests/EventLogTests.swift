import Glibc
import JSON
import Lab
import Policy
import Switchdev
import TestSupport
import Testing

@testable import Records

extension Folder {
    /// Appends the report of a redirection to the log.
    fileprivate func log(_ time: Int64, limit: Int = 4 << 20) throws {
        try EventLog(state, limit: limit).append(Folder.report(startedAt: time).eventLine(by: Doer()))
    }

    fileprivate func times() throws -> [Int64] {
        try HistoryReading.entries(HistoryFilter(limit: 10_000), in: state).map(\.time).reversed()
    }

    fileprivate func content(_ path: String? = nil) -> [UInt8] {
        Array(TextFile.read(path ?? state.eventsFile).utf8)
    }

    /// Removes the database, so that it is filled anew.
    fileprivate func forget() {
        for suffix in ["", "-journal", "-wal", "-shm"] { unlink(state.historyFile + suffix) }
    }
}

/// The log of events, and the database that is filled from it.
struct EventLogTests {
    @Test func aLineSaysAllOfAReport() throws {
        var report = try Folder.report(proof: 7, startedAt: 42)
        report.addresses = [
            .init(address: "02:00:00:00:00:01/7", primitive: "replace", port: "tap\t0", error: nil),
            .init(address: "02:00:00:00:00:02/7", primitive: "replace", port: "tap\t0", error: nil),
            .init(address: "02:00:00:00:00:03", primitive: "use", port: "", error: "no\nspace \\N \""),
            .init(address: "02:00:00:00:00:04/7", primitive: "replace", port: "tap\t0", error: nil),
        ]
        report.notes = ["", "a\ttab, a \\ and a\nline", "ä\u{1}\u{7f}\u{2028}"]
        report.failures = ["one", "\\"]
        let line = report.eventLine(by: Doer())
        #expect(line.first == 10 && line.last == 10 && line.dropFirst().dropLast().allSatisfy { $0 != 10 })
        let event = try #require(JSON(text: String(decoding: line, as: UTF8.self)))
        #expect(event["event"]?.text == "redirection" && event["time_ns"]?.integer == 42)
        #expect(event["results"]?.elements?.map { $0["addresses"]?.elements?.count } == [2, 1, 1])
        let read = try #require(ReadLine(line.dropFirst().dropLast()))
        #expect(read.redirection.count == 18 && read.redirection.text(11) == "one; \\")
        #expect(read.redirection.integer(0) == 42 && read.redirection.text(12) == report.evidence?.record)
        #expect(
            read.results.map { row in row.indices.map { row.text($0) } }
                == report.addresses.map { [$0.address, $0.primitive, $0.port, $0.error] })
        #expect(read.notes == report.notes.map { .text($0) })
        // A line that is cut off anywhere is none.
        for end in 1..<line.count - 2 { #expect(ReadLine(line[1...end]) == nil) }
    }

    @Test func tooManyResultsAreLeftOut() throws {
        let folder = try Folder()
        var report = try Folder.report(startedAt: 3)
        report.addresses = (0..<60_000).map {
            .init(address: "02:00:00:00:00:01/\($0)", primitive: "replace", port: "tap0", error: nil)
        }
        #expect(EventLog(folder.state).append(report) == nil)
        let read = try HistoryReading.report(nil, number: nil, in: folder.state)
        #expect(read.addresses.isEmpty && read.notes.contains { $0.contains("60000 addresses") })
    }

    @Test func aLineThatWasCutOffTakesNoOtherWithIt() throws {
        let folder = try Folder()
        try folder.log(1)
        let whole = folder.content()
        let line = try Folder.report(startedAt: 9).eventLine(by: Doer())
        for length in stride(from: 0, to: line.count - 1, by: 7) {
            try TextFile.write(whole + line.prefix(length), to: folder.state.eventsFile)
            #expect(try folder.times() == [1], "before another is appended, cut off at \(length)")
            try folder.log(2)
            #expect(try folder.times() == [1, 2], "cut off at \(length)")
            folder.forget()
        }
    }

    @Test func hostileLinesAreSkippedAndCounted() throws {
        let folder = try Folder()
        try folder.log(1)
        let member = "\"id\":\"x\",\"event\":\"redirection\""
        let line = String(
            decoding: try Folder.report(startedAt: 5).eventLine(by: Doer()).dropFirst().dropLast(), as: UTF8.self)
        let hostile = [
            "{", "[]", "null", "\u{0}\u{0}\u{0}", "{\(member)}", "{\(member),\"time_ns\":\"1\",\"guest\":7}",
            line.replacing("\"time_ns\":5", with: "\"time_ns\":5.5"), "a\tb\t\\.",
            line.replacing("\"vm1\"", with: "[\"vm1\"]"), String(repeating: "[", count: 100_000),
            "{\"a\":[" + String(repeating: "0,", count: 150_000) + "0]}",
            line.dropLast() + ",\"more\":\"" + String(repeating: "x", count: 1 << 20) + "\"}",
            String(repeating: "y", count: 5 << 20),
        ]
        let events = hostile + ["{\"event\":\"unheard of\",\"id\":\"z\"}", "", line.dropLast() + ",\"more\":[{}]}"]
        let before = folder.content()
        try TextFile.write(before + events.joined(separator: "\n").utf8 + [10], to: folder.state.eventsFile)
        try folder.log(2)
        #expect(try folder.times() == [1, 5, 2])
        let skipped = try History(folder: folder.state).database.run("SELECT skipped FROM log").first?.integer(0)
        // The longest one is read in two parts and a rest.
        #expect(skipped == Int64(hostile.count + 2))
    }

    @Test func aLogThatSomebodyEmptiedIsAnother() throws {
        let folder = try Folder()
        for time in 1...5 { try folder.log(Int64(time)) }
        #expect(try folder.times() == Array(1...5))
        try TextFile.write("", to: folder.state.eventsFile)
        #expect(try folder.times() == Array(1...5))
        for time in 6...12 { try folder.log(Int64(time)) }
        #expect(try folder.times() == Array(1...12))
    }

    @Test func rotationKeepsWhatWasNotRead() throws {
        let folder = try Folder()
        let size = try Folder.report(startedAt: 1).eventLine(by: Doer()).count
        for time in 1...29 { try folder.log(Int64(time), limit: 6 * size) }
        #expect(access(folder.state.rotatedFiles[3], F_OK) == 0)
        #expect(try folder.times() == Array(1...29))
        for time in 30...33 { try folder.log(Int64(time), limit: 6 * size) }
        #expect(try folder.times() == Array(1...33))
        // Only so many are kept, each at most one line larger than the limit.
        for time in 34...200 { try folder.log(Int64(time), limit: 6 * size) }
        let sizes = folder.state.eventFiles.map { folder.content($0).count }
        #expect(sizes.allSatisfy { $0 < 8 * size }, "\(sizes)")
        #expect(Set(try folder.times()).isSuperset(of: Set(1...33).union(180...200)))
        let names = try Command.run(["ls", folder.path]).output.split(separator: "\n")
        #expect(
            names == [
                "events.lock", "events.log", "events.log.1", "events.log.2", "events.log.3", "events.log.4",
                "history.db",
            ])
    }

    @Test func oldFilesGoAtTheNextRotation() throws {
        let folder = try Folder()
        for time in 1...5 { try folder.log(Int64(time), limit: 1) }
        let old = folder.state.rotatedFiles[2]
        var times = [timeval](repeating: timeval(tv_sec: time(nil) - 91 * 24 * 3600, tv_usec: 0), count: 2)
        #expect(utimes(old, &times) == 0)
        let kept = folder.content(folder.state.rotatedFiles[3])
        try folder.log(6, limit: 1)
        // The number that became free is filled, and the oldest one stays.
        #expect(folder.content(folder.state.rotatedFiles[3]) == kept)
        #expect(try folder.times() == [2, 4, 5, 6])
    }

    /// As a kill leaves it between any two renames.
    @Test(arguments: 0...4)
    func aRotationThatWasCutOffIsEnded(_ number: Int) throws {
        let folder = try Folder()
        for time in 1...3 { try folder.log(Int64(time), limit: 1) }
        let names = [folder.state.eventsFile] + folder.state.rotatedFiles
        if number < 4 {
            for index in stride(from: 3, through: number, by: -1) { rename(names[index], names[index + 1]) }
        } else {
            try TextFile.write("half", to: folder.state.eventsFile + ".new")
        }
        #expect(try folder.times() == [1, 2, 3])
        try folder.log(4)
        #expect(try folder.times() == [1, 2, 3, 4])
        folder.forget()
        #expect(try folder.times() == [1, 2, 3, 4])
        for time in 5...6 { try folder.log(Int64(time), limit: 1) }
        #expect(try folder.times() == [1, 2, 3, 4, 5, 6])
    }

    @Test func manyAtOnce() async throws {
        let folder = try Folder()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<4 {
                group.addTask {
                    for step in 0..<100 { try folder.log(Int64(writer * 100 + step), limit: 64 << 10) }
                }
            }
            for _ in 0..<2 { group.addTask { for _ in 0..<30 { _ = try folder.times() } } }
            try await group.waitForAll()
        }
        #expect(try folder.times().sorted() == Array(0..<400))
        #expect(access(folder.state.rotatedFiles[0], F_OK) == 0)
    }

    @Test func whatIsNoFileIsSaid() throws {
        let folder = try Folder()
        let report = try Folder.report()
        #expect(symlink("/dev/null", folder.state.eventsFile) == 0)
        #expect(EventLog(folder.state).append(report)?.contains("the history was not written: ") == true)
        unlink(folder.state.eventsFile)
        #expect(mkfifo(folder.state.eventsFile, 0o600) == 0)
        #expect(EventLog(folder.state).append(report)?.contains("events.log: ") == true)
        #expect(try folder.times().isEmpty)
        unlink(folder.state.eventsFile)
        let missing = StateFolder(folder.path + "/missing")
        #expect(EventLog(missing).append(report)?.contains("No such file or directory") == true)
    }
}
