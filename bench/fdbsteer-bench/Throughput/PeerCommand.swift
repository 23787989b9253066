import ArgumentParser
import FDB
import Glibc
import Lab
import Netlink
import System

/// `fdbsteer-bench peer`: fdbsteer's own modules as a peer of the others, with the same works through the same interface
/// (bench/peers/peer.h). A process of the same kind is thus timed, and valgrind can count its instructions.
struct PeerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "peer", abstract: "Take works from standard input, as bench/peers/peer.h says.",
        shouldDisplay: false)

    @Argument var ports: [String]

    func run() throws {
        guard ports.count == 3 else { throw ValidationError("two ports and their bridge") }
        let indexes = try ports.map { name throws -> Int32 in
            guard let index = try Interface.index(of: name) else { throw LabError("there is no interface \(name)") }
            return index
        }
        var worker = try PeerWorker(ports: Array(indexes[..<2]), bridge: indexes[2])
        while let line = readLine() {
            let words = line.split(separator: " ")
            guard words.count == 3, let count = Int(words[1]), let port = Int(words[2]), (0...1).contains(port) else {
                throw ValidationError("no such work: \(line)")
            }
            worker.makeReady(count)
            let begin = monotonicNanoseconds()
            let done = try worker.run(String(words[0]), count, port)
            print(monotonicNanoseconds() - begin, done)
            fflush(nil)
        }
    }
}

/// The operations of fdbsteer on entries, through its modules.
struct PeerWorker: ~Copyable {
    private var socket: CommandSocket
    private let ports: [Int32]
    private let bridge: Int32
    /// The addresses of known guests, as a daemon has them.
    private var addresses: [Address] = []
    private var table: Table?

    init(ports: [Int32], bridge: Int32) throws {
        socket = try CommandSocket()
        self.ports = ports
        self.bridge = bridge
    }

    /// Makes the first addresses. This is not timed, because a daemon already knows its guests.
    mutating func makeReady(_ count: Int) {
        while addresses.count < count {
            guard let next = try? Address(mac: MACAddress(value: 0x02fd_0000_0000 + UInt64(addresses.count))) else {
                return
            }
            addresses.append(next)
        }
    }

    /// Does one work, from the addresses to the results.
    ///
    /// - Returns: the number of entries involved.
    mutating func run(_ work: String, _ count: Int, _ port: Int) throws -> Int {
        switch work {
        case "add", "move":
            let port = ports[port]
            try change(addresses[..<count].map { EntryChange($0, .replace, port: port) })
            return count
        case "delete":
            let port = ports[port]
            try change(addresses[..<count].map { EntryChange($0, .delete, port: port) })
            return count
        case "dump":
            table = nil
            let read = try Table.snapshot(bridge: bridge, using: &socket)
            table = read
            return read.entries.count
        case "find":
            let sought = Array(addresses[..<count])
            // Uses a table that was just read, if there is one: the kernel's answers correct it.
            guard var table else {
                return try Table.read(sought, bridge: bridge, using: &socket).count { $0 != nil }
            }
            self.table = nil
            try table.confirm(sought, using: &socket)
            return sought.count { table[$0] != nil }
        default:
            throw ValidationError("no such work: \(work)")
        }
    }

    private mutating func change(_ changes: [EntryChange]) throws {
        for case .some(let error) in Transaction(changes).run(on: &socket) { throw error }
    }
}
