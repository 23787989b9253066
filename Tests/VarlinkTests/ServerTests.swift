import Glibc
import JSON
import Lab
import Records
import System
import TestSupport
import Testing

@testable import Varlink

/// The server and its connections, without guests.
struct ServerTests {
    /// A client that nobody waits for: a reply that does not come is a failure after this many seconds.
    private static let patience = 60

    private func connect(_ folder: Folder) throws -> Int32 {
        let client = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var limit = timeval(tv_sec: ServerTests.patience, tv_usec: 0)
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array("\(folder.path)/io.fdbsteer".utf8)) }
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(client, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        if result == 0 { return client }
        close(client)
        throw LabError("nobody listens")
    }

    private func call(_ client: Int32, _ method: String, _ parameters: String = "{}") {
        let bytes = Array(#"{"method":"\#(method)","parameters":\#(parameters)}"#.utf8) + [0]
        #expect(send(client, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count)
    }

    /// The bytes of a reply; nil when the connection is closed, or none comes.
    private func reply(_ client: Int32) -> [UInt8]? {
        var reply: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = recv(client, &part, part.count, 0)
            guard count > 0 else { return nil }
            reply += part[..<count]
            if part[count - 1] == 0 { return reply }
        }
    }

    /// Clients whose answers fill their sockets: they have as long as they like, and nobody waits for them.
    @Test func aClientThatDoesNotReadDelaysNoOther() throws {
        let folder = try Folder()
        for _ in 0..<3000 { try folder.append() }
        // More than the kernel takes for a client that does not read (net.core.wmem_default).
        let least = 400_000
        var limits = ClientLimits()
        limits.answerTime = 3_600_000_000_000
        let server = try VarlinkServer.start(folder.state, limits: limits)
        var clients: [Int32] = []
        defer {
            clients.forEach { close($0) }
            server.stop()
        }
        let all = #"{"limit":100000}"#
        for _ in 0..<8 {
            clients.append(try connect(folder))
            call(clients[clients.count - 1], "io.fdbsteer.History", all)
        }
        let other = try connect(folder)
        defer { close(other) }
        call(other, "io.fdbsteer.History", all)
        #expect(try #require(reply(other)).count > least)
        // Theirs are whole when they read at last.
        for client in clients { #expect(try #require(reply(client)).count > least) }
    }

    @Test func whereThereIsNoRoomTheLargestUnreadAnswerIsGivenUp() throws {
        let unread = Unread(limit: 100)
        var ends: [[Int32]] = []
        defer { ends.joined().forEach { close($0) } }
        func isOpen(_ index: Int) -> Bool {
            var byte: UInt8 = 0
            return recv(ends[index][1], &byte, 1, Int32(MSG_DONTWAIT)) < 0
        }
        for _ in 0..<4 {
            var pair: [Int32] = [-1, -1]
            try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
            ends.append(pair)
        }
        unread.add(60, of: ends[0][0])
        // One answer may have any size, and takes no room from others.
        unread.add(1000, of: ends[1][0])
        unread.add(40, of: ends[2][0])
        #expect((0..<4).map(isOpen) == [true, true, true, true])
        unread.add(60, of: ends[3][0])
        #expect((0..<4).map(isOpen) == [true, false, true, true])
        // Who has read leaves room; of equal answers the one that has waited longest is given up.
        unread.remove(ends[2][0])
        unread.add(60, of: ends[2][0])
        #expect((0..<4).map(isOpen) == [false, false, true, true])
    }

    /// The file of the socket may be removed, by a tmpfiles.d of others for example: it is made again.
    @Test func aSocketThatIsRemovedIsMadeAgain() throws {
        let folder = try Folder()
        let server = try VarlinkServer.start(folder.state)
        defer { server.stop() }
        for turn in 1...3 {
            let before = try connect(folder)
            defer { close(before) }
            if turn == 2 {
                #expect(rename("\(folder.path)/io.fdbsteer", "\(folder.path)/other") == 0)
            } else {
                #expect(unlink("\(folder.path)/io.fdbsteer") == 0)
            }
            var after: Int32?
            for _ in 0..<3000 where after == nil {
                after = try? connect(folder)
                if after == nil { usleep(10_000) }
            }
            let client = try #require(after)
            defer { close(client) }
            // Who was connected stays so.
            for client in [before, client] {
                call(client, "org.varlink.service.GetInfo")
                #expect(reply(client) != nil)
            }
        }
        // What has the name instead is left alone.
        #expect(unlink("\(folder.path)/io.fdbsteer") == 0)
    }
}
