import Netlink
import Testing

@testable import FDB

/// The manually laid out messages, and the set in which tables keep their entries.
@Suite struct EntrySetTests {
    private static func address(_ number: Int, vlan: Bool = false) throws -> Address {
        try Address(
            mac: MACAddress(value: 0x5254_0000_0000 + UInt64(number)),
            vlan: vlan ? VLANID(rawValue: UInt16(number % 4094 + 1)) : nil)
    }

    private static func entry(_ number: Int, port: Int32, vlan: Bool = false) throws -> Entry {
        Entry(address: try address(number, vlan: vlan), port: port, bridge: 3, state: .noARP)
    }

    @Test func aMessageLaidOutByHandIsTheEncoders() throws {
        for number in 0..<64 {
            let address = try EntrySetTests.address(number * 0x01_0305 + 1, vlan: number % 2 == 1)
            let requests: [EntryRequest] = [
                .set(address, port: 7, state: .noARP, flags: [.create, .replace], entryFlags: .sticky),
                .set(address, port: .max, state: .reachable, flags: [.create, .replace], entryFlags: .use),
                .delete(address, port: 8), .get(address, bridge: 0x0102_0304),
            ]
            for request in requests {
                var byHand = MessageWriter(capacity: 256)
                var encoded = MessageWriter(capacity: 256)
                let fits = request.append(to: &byHand, sequence: 0xdead_beef)
                let isEncoded = encoded.append(request, sequence: 0xdead_beef)
                #expect(fits && isEncoded)
                #expect(Array(byHand.bytes) == Array(encoded.bytes), "\(request)")
            }
        }
    }

    @Test func aMessageThatDoesNotFitIsNotBegun() throws {
        var writer = MessageWriter(capacity: 100)
        let request = EntryRequest.delete(try EntrySetTests.address(1), port: 8)
        let fits = (1...3).map { request.append(to: &writer, sequence: $0) }
        #expect(fits == [true, true, false])
        let before = Array(writer.bytes)
        let fitsLater = request.append(to: &writer, sequence: 4)
        #expect(!fitsLater && before.count == 80)
        #expect(Array(writer.bytes) == before)
    }

    @Test func theLastEntryOfAnAddressHolds() throws {
        var entries: ContiguousArray<Entry> = []
        for number in 0..<300 { entries.append(try EntrySetTests.entry(number % 100, port: Int32(number))) }
        let set = EntrySet(entries)
        #expect(set.count == 100)
        for number in 0..<100 {
            let address = try EntrySetTests.address(number)
            #expect(set[address]?.port == Int32(200 + number))
        }
    }

    @Test func aSetDoesWhatADictionaryDoes() throws {
        var random = SystemRandomNumberGenerator()
        var set = EntrySet()
        var dictionary: [Address: Entry] = [:]
        for step in 0..<20_000 {
            let number = Int.random(in: 0..<500, using: &random)
            let address = try EntrySetTests.address(number, vlan: number % 3 == 0)
            let entry =
                Int.random(in: 0..<20, using: &random) == 0
                ? nil : try EntrySetTests.entry(number, port: Int32(step), vlan: number % 3 == 0)
            set[address] = entry
            dictionary[address] = entry
            #expect(set.count == dictionary.count)
            #expect(set[address] == dictionary[address])
        }
        #expect(Set(set.values) == Set(dictionary.values))
        for address in dictionary.keys { #expect(set[address] == dictionary[address]) }
    }

    /// The answers are the same without an index, with one, and after a change, which makes one.
    @Test(arguments: [0, 1, 16, 17, 300]) func lookupsNeedNoIndex(count: Int) throws {
        var entries: ContiguousArray<Entry> = []
        for number in 0..<count { entries.append(try EntrySetTests.entry(number, port: Int32(number))) }
        var sets = [EntrySet(distinct: entries), EntrySet(distinct: entries), EntrySet(distinct: entries)]
        sets[1].makeIndex()
        let other = try EntrySetTests.entry(count + 1, port: 1)
        sets[2][other.address] = other
        sets[2][other.address] = nil
        for number in 0...count + 1 {
            let address = try EntrySetTests.address(number)
            for set in sets { #expect(set[address]?.port == (number < count ? Int32(number) : nil)) }
        }
        #expect(sets.map(\.count) == [count, count, count])
    }

    @Test func anEmptySetHasNothing() throws {
        let set = EntrySet()
        #expect(set.count == 0)
        #expect(set[try EntrySetTests.address(1)] == nil)
    }
}
