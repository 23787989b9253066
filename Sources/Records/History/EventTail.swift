import Glibc
import JSON
package import Policy
import System

/// An event of the log, as it was read.
package struct LoggedEvent: Sendable {
    private let json: JSON

    /// - Returns: nil for a line that is none of the log's, or a file's first one.
    init?(_ line: ArraySlice<UInt8>) {
        guard line.count <= EventKind.limit, line.first == UInt8(ascii: "{"),
            let json = line.withUnsafeBytes({ JSON($0) }), let kind = json["event"]?.text,
            kind != EventKind.log.rawValue
        else { return nil }
        self.json = json
    }

    /// The kind; nil for one that a later version writes.
    package var kind: EventKind? { json["event"]?.text.flatMap(EventKind.init) }
    /// The start, in nanoseconds since 1970.
    package var time: Int64 { integer("time_ns") ?? 0 }

    /// The text of a member.
    package func text(_ name: String) -> String? { json[name]?.text }
    /// The number of a member.
    package func integer(_ name: String) -> Int64? { json[name]?.integer }
    /// The texts of a member that is a list.
    package func texts(_ name: String) -> [String] { json[name]?.elements?.compactMap(\.text) ?? [] }
    /// How many addresses a redirection changed.
    package var addressCount: Int {
        json["results"]?.elements?.reduce(0) { $0 + ($1["addresses"]?.elements?.count ?? 0) } ?? 0
    }
    /// The addresses of a redirection, each with what became of it.
    package var results: [Report.AddressResult] {
        (json["results"]?.elements ?? []).flatMap { group in
            (group["addresses"]?.elements ?? []).compactMap(\.text).map {
                Report.AddressResult(
                    address: $0, primitive: group["primitive"]?.text ?? "", port: group["port"]?.text ?? "",
                    error: group["error"]?.text)
            }
        }
    }
    /// What the ports' counters showed; nil where nothing was recorded.
    package var evidence: Evidence? {
        guard let record = text("evidence"), let from = text("from").flatMap(Side.init),
            let to = text("to").flatMap(Side.init)
        else { return nil }
        return Evidence(record: record, from: from, to: to)
    }
}

/// Reads events as they are appended to the log (inotify(7)), across its rotations. It needs no lock and writes nothing.
package struct EventTail: ~Copyable {
    /// For poll(2): readable when the log may have new lines; negative while there is no folder to watch.
    package let descriptor: Int32
    private let folder: StateFolder
    /// The current file and the one before, to which late writers may still append.
    private var files: [Followed] = []

    /// A file of the log, and how far it is read.
    private final class Followed {
        let descriptor: Int32
        let inode: UInt64
        private var rest: [UInt8] = []

        init?(_ path: String) throws(ControllerError) {
            descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
            var information = stat()
            guard descriptor >= 0, fstat(descriptor, &information) == 0 else {
                if errno == ENOENT || errno == ENOTDIR { return nil }
                let code = errno
                throw ControllerError(
                    .precondition, "cannot read the log of events \(path): \(String(cString: strerror(code)))",
                    remedy: StateFolder.remedy(for: code))
            }
            inode = UInt64(information.st_ino)
        }

        deinit { if descriptor >= 0 { close(descriptor) } }

        func skip() { lseek(descriptor, 0, SEEK_END) }

        /// How many events there are; they are still to be read.
        func count() -> Int {
            var count = 0
            read { _ in count += 1 }
            lseek(descriptor, 0, SEEK_SET)
            rest = []
            return count
        }

        /// Hands over the events that were appended since the last call.
        func read(_ body: (LoggedEvent) -> Void) {
            withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 1) { buffer in
                while true {
                    let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
                    guard count > 0 else { return }
                    rest += buffer[..<count]
                    guard let last = rest.lastIndex(of: UInt8(ascii: "\n")) else {
                        // No reader takes such a line.
                        if rest.count > EventKind.limit { rest = [] }
                        continue
                    }
                    for line in rest[..<last].split(separator: UInt8(ascii: "\n")) {
                        if let event = LoggedEvent(line) { body(event) }
                    }
                    rest.removeSubrange(...last)
                }
            }
        }
    }

    /// - Parameters:
    ///   - folder: where the history is; it need not exist yet.
    ///   - last: hands over so many events that are there already, without keeping them: they may have tens of megabytes.
    /// - Throws: ``ControllerError`` of code `precondition` when the log is there and cannot be read.
    package init(_ folder: StateFolder, last: Int = 0, _ body: (LoggedEvent) -> Void) throws(ControllerError) {
        self.folder = folder
        descriptor = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
        watchFolder()
        var all: [Followed] = []
        for path in folder.eventFiles { if let file = try Followed(path) { all.append(file) } }
        var older = last > 0 ? all.reduce(-last) { $0 + $1.count() } : 0
        for file in all {
            if last == 0 { file.skip() } else { file.read { if older > 0 { older -= 1 } else { body($0) } } }
        }
        files = all.suffix(2)
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    private func watchFolder() {
        _ = inotify_add_watch(
            descriptor, folder.historyFolder, UInt32(IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR))
    }

    /// Hands over the events that were appended since the last call.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when the log cannot be read any more.
    package mutating func read(_ body: (LoggedEvent) -> Void) throws(ControllerError) {
        // What inotify tells is only that something has happened.
        withUnsafeTemporaryAllocation(byteCount: 8192, alignment: 8) { buffer in
            while Glibc.read(descriptor, buffer.baseAddress, buffer.count) > 0 {}
        }
        for file in files { file.read(body) }
        var information = stat()
        let isThere = stat(folder.eventsFile, &information) == 0
        guard isThere, files.last?.inode != UInt64(information.st_ino) else {
            if files.isEmpty { watchFolder() }
            return
        }
        watchFolder()
        // Others have taken its place, perhaps several: of those, the ones that are newer than it.
        let known = files.last?.inode
        var newer: [Followed] = []
        for path in folder.eventFiles {
            guard let file = try Followed(path) else { continue }
            if file.inode == known { newer = [] } else { newer.append(file) }
        }
        // A line that was appended to it meanwhile is older than all of theirs.
        files.last?.read(body)
        for file in newer { file.read(body) }
        files = (files + newer).suffix(2)
    }
}
