import FDB
import Lab
import Netlink
import System
import Testing

let obstacle = Namespace.obstacle

/// The command socket against the running kernel.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct CommandSocketTests {
    private static func address(_ number: Int) throws -> Address {
        try Address(mac: MACAddress(value: 0x5254_0000_0000 + UInt64(number)))
    }

    @Test func resultsOfABatchAreMatchedToItsMessages() throws {
        try Namespace.run {
            let lab = try BridgeLab()
            var socket = try CommandSocket()
            let port = try #require(try Interface.index(of: lab.primary))
            // Of 200 messages, in four sends, every tenth names a missing interface.
            let requests = try (1...200).map { number in
                EntryRequest.set(
                    try CommandSocketTests.address(number), port: number % 10 == 0 ? 9999 : port, state: .noARP,
                    flags: [.create, .replace])
            }
            let results = socket.perform(requests)
            #expect(results.count == 200)
            for (index, result) in results.enumerated() {
                if (index + 1) % 10 == 0 {
                    #expect(result?.errno == .noDevice)
                    #expect(result?.extack == "unknown ifindex")
                } else {
                    #expect(result == nil)
                }
            }
            let bridge = try #require(try Interface.index(of: lab.bridge))
            let table = try Table.snapshot(bridge: bridge, using: &socket)
            #expect(table.entries.values.count { $0.isStatic } == 180)
        }
    }

    @Test func theKernelsWordsReachTheCaller() throws {
        try Namespace.run {
            let lab = try BridgeLab()
            var socket = try CommandSocket()
            let port = try #require(try Interface.index(of: lab.primary))
            let request = EntryRequest.set(
                try CommandSocketTests.address(1), port: port, state: .noARP, flags: [.create, .exclusive])
            try socket.perform(request)
            #expect(throws: NetlinkError(.refused, "the kernel refused the request", errno: .exists)) {
                try socket.perform(request)
            }
            let lone = EntryRequest.set(try CommandSocketTests.address(1), port: 0, state: .noARP, flags: .create)
            let error = try #require(socket.perform([lone])[0])
            #expect(error.errno == .invalid)
            #expect(error.description.contains("invalid ifindex"))
        }
    }

    /// A read whose answer is longer than the request declares.
    private struct Understated: Request {
        let request: EntryRequest

        static var replyLimit: Int? { 64 }
        var type: MessageType { request.type }
        var flags: MessageFlags { request.flags }
        func encode(into body: inout MessageBody) { request.encode(into: &body) }
    }

    @Test func answersThatAreReceivedTogether() throws {
        try Namespace.run {
            let lab = try BridgeLab()
            var socket = try CommandSocket()
            let port = try #require(try Interface.index(of: lab.primary))
            let bridge = try #require(try Interface.index(of: lab.bridge))
            let addresses = try (1...200).map(CommandSocketTests.address)
            // Of 200 addresses, two in three have an entry.
            let present = addresses.indices.filter { $0 % 3 != 0 }
            let results = socket.perform(
                present.map { EntryRequest.set(addresses[$0], port: port, state: .noARP, flags: .create) })
            #expect(results.allSatisfy { $0 == nil })
            let entries = try Table.read(addresses, bridge: bridge, using: &socket)
            #expect(entries.indices.filter { entries[$0] != nil } == present)
            #expect(present.allSatisfy { entries[$0]?.address == addresses[$0] })
            // A truncated answer is an error, and the socket stays usable.
            let understated = present.map { Understated(request: .get(addresses[$0], bridge: bridge)) }
            var code: NetlinkError.Code?
            do throws(NetlinkError) { try socket.get(understated) { _, _ in } } catch { code = error.code }
            #expect(code == .truncated)
            #expect(try Table.read(addresses, bridge: bridge, using: &socket).count { $0 != nil } == present.count)
        }
    }

    @Test func aSmallReceiveBufferShrinksTheBatch() throws {
        try Namespace.run {
            let lab = try BridgeLab()
            var small = try CommandSocket(receiveBuffer: 8192)
            #expect(small.maximumBatch == 4)
            #expect(try CommandSocket().maximumBatch == CommandSocket.batchLimit)
            let port = try #require(try Interface.index(of: lab.primary))
            // All fail, so each message is answered, and no answer may be lost.
            let requests = try (1...300).map {
                EntryRequest.delete(try CommandSocketTests.address($0), port: port)
            }
            #expect(small.perform(requests).allSatisfy { $0?.errno == .noEntry })
        }
    }

    @Test func unprivilegedChangesAreRefusedByTheKernelsName() throws {
        try Namespace.run {
            // Another user's namespace: this process has no capability over it after dropping its own.
            let command = try Command.run([
                "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--reuid=65534",
                "--clear-groups", "sh", "-c", "ip link add br9 type bridge",
            ])
            #expect(command.exitCode != 0)
            #expect(command.errors.contains("Operation not permitted"))
        }
    }

    @Test func monitorsHearChangesAndReportOverruns() throws {
        try Namespace.run {
            let lab = try BridgeLab()
            var socket = try CommandSocket()
            let port = try #require(try Interface.index(of: lab.primary))
            let monitor = try MonitorSocket(groups: [.neighbour], receiveBuffer: 2048)
            let requests = try (1...500).map {
                EntryRequest.set(
                    try CommandSocketTests.address($0), port: port, state: .noARP, flags: [.create, .replace])
            }
            #expect(socket.perform(requests).allSatisfy { $0 == nil })
            var heard = 0
            var overruns = 0
            while true {
                do throws(NetlinkError) {
                    if try !monitor.receive({ _, _ in heard += 1 }) { break }
                } catch {
                    #expect(error.code == .overrun)
                    overruns += 1
                }
            }
            #expect(overruns >= 1)
            #expect(heard < 500)
        }
    }

    @Test func notificationsComeInOrder() throws {
        try Namespace.run {
            let lab = try BridgeLab()
            var socket = try CommandSocket()
            let port = try #require(try Interface.index(of: lab.primary))
            let monitor = try MonitorSocket(groups: [.neighbour], receiveBuffer: 1 << 20)
            let addresses = try (1...100).map(CommandSocketTests.address)
            let requests = addresses.map {
                EntryRequest.set($0, port: port, state: .noARP, flags: [.create, .replace])
            }
            #expect(socket.perform(requests).allSatisfy { $0 == nil })
            // The kernel queues a notification before it acknowledges the request that caused it.
            var heard: [Address] = []
            while try monitor.receive({ (header, payload) throws(NetlinkError) in
                if let change = try FDBMonitor.change(header, payload) { heard.append(change.entry.address) }
            }) {}
            #expect(heard == addresses)
        }
    }
}
