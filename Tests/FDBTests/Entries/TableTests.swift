import FDB
import Lab
import Netlink
import Testing

let obstacle = Namespace.obstacle

/// The table against the running kernel.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct TableTests {
    private static func address(_ number: Int) throws -> Address {
        try Address(mac: MACAddress(value: 0x5254_0000_0000 + UInt64(number)))
    }

    @Test func nothingIsMissedWhileOthersAreDeleted() throws {
        try Namespace.run {
            let lab = try BridgeLab()
            var socket = try CommandSocket()
            let port = try #require(try Interface.index(of: lab.primary))
            let bridge = try #require(try Interface.index(of: lab.bridge))
            let kept = try (1...4000).map(TableTests.address)
            let passing = try (10_001...12_000).map(TableTests.address)
            @Sendable func set(_ addresses: [Address]) -> [EntryRequest] {
                addresses.map { .set($0, port: port, state: .noARP, flags: [.create, .replace]) }
            }
            #expect(socket.perform(set(kept)).allSatisfy { $0 == nil })
            let stop = StopFlag()
            let churn = try Namespace.thread {
                guard var socket = try? CommandSocket() else { return }
                while !stop.isSet {
                    _ = socket.perform(set(passing))
                    _ = socket.perform(passing.map { EntryRequest.delete($0, port: port) })
                }
            }
            for _ in 0..<20 {
                var table = try Table.snapshot(bridge: bridge, using: &socket)
                if !table.isExact { try table.confirm(kept, using: &socket) }
                let missing = kept.filter { table[$0] == nil }
                #expect(missing.isEmpty, "\(missing.count) after \(table.dumps) dumps, exact: \(table.isExact)")
                // A settled entry in the table must not be a ghost of a deleted one.
                #expect(table.entries.values.allSatisfy { $0.port == port || $0.isLocal })
            }
            stop.set()
            churn.join()
            let table = try Table.snapshot(bridge: bridge, using: &socket)
            #expect(table.dumps == 1 && table.isExact)
            #expect(table.entries.values.count { $0.isStatic } == kept.count)
        }
    }

    @Test func everyPrimitiveDoesWhatItSays() throws {
        try Namespace.run {
            let lab = try BridgeLab()
            var socket = try CommandSocket()
            let primary = try #require(try Interface.index(of: lab.primary))
            let standby = try #require(try Interface.index(of: lab.standby))
            let bridge = try #require(try Interface.index(of: lab.bridge))
            let address = try TableTests.address(1)
            func apply(_ change: EntryChange) throws -> Entry? {
                let results = Transaction([change]).run(on: &socket)
                #expect(results == [nil], "\(change.primitive)")
                return try Table.read([address], bridge: bridge, using: &socket)[0]
            }
            var entry = try apply(EntryChange(address, .replace, port: primary))
            #expect(entry?.port == primary && entry?.isStatic == true && entry?.isSticky == false)
            entry = try apply(EntryChange(address, .replace, port: standby, sticky: true))
            #expect(entry?.port == standby && entry?.isSticky == true)
            // NTF_USE silently leaves a sticky entry where it is: kernel.md, section 0, item 6.
            entry = try apply(EntryChange(address, .use, port: primary))
            #expect(entry?.port == standby)
            entry = try apply(EntryChange(address, .replace, port: standby))
            entry = try apply(EntryChange(address, .use, port: primary))
            #expect(entry?.port == primary && entry?.isStatic == true)
            entry = try apply(EntryChange(address, .deleteCreate, port: standby, oldPort: primary))
            #expect(entry?.port == standby && entry?.isStatic == true)
            entry = try apply(EntryChange(address, .makeDynamic, port: standby))
            #expect(entry?.isDynamic == true)
            entry = try apply(EntryChange(address, .delete, port: standby))
            #expect(entry == nil)
        }
    }
}
