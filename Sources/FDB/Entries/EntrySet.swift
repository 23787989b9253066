/// Entries by address, for tables of any size: an array in the kernel's order, and an index of it.
///
/// The index takes four to eight bytes for each entry. The first change makes it, or ``makeIndex()``: a caller that only
/// iterates over a table does not need it. Without an index a lookup searches the entries; making the index costs as
/// much as some fifty of these searches. A dictionary costs more than reading the table: its hash is made for
/// adversaries, and it moves all entries each time it grows. The index multiplies by a random number, because guests
/// choose their MACs but do not know that number.
public struct EntrySet: Sendable {
    /// The entries, in no particular order.
    public private(set) var values: ContiguousArray<Entry>
    /// Positions in `values` plus one, 0 for a free slot. The size is a power of two, and at least a quarter is free. An
    /// empty array means that there is no index.
    private var slots: ContiguousArray<UInt32> = []
    private let seed = EntrySet.processSeed
    /// One seed for the whole process, because each takes two system calls.
    private static let processSeed: (UInt64, UInt64) = (.random(in: .min ... .max), .random(in: .min ... .max) | 1)
    /// Up to this number a search is as fast without an index.
    private static let searchLimit = 16

    /// - Parameter entries: of several entries of one address, the last one wins.
    public init(_ entries: ContiguousArray<Entry> = []) {
        guard entries.count <= EntrySet.searchLimit else {
            values = entries
            index()
            return
        }
        values = []
        for entry in entries { self[entry.address] = entry }
    }

    /// - Parameter entries: no two may have the same address.
    init(distinct entries: ContiguousArray<Entry>) { values = entries }

    /// Makes a set from the answers to requests for single addresses; addresses without an entry are left out.
    public init(_ answers: [Entry?]) {
        // No chain of lazy sequences: the first use of their types costs a process 0.9 million instructions.
        var entries: ContiguousArray<Entry> = []
        for case .some(let entry) in answers { entries.append(entry) }
        self.init(entries)
    }

    /// The number of entries.
    public var count: Int { values.count }

    /// Makes every lookup take constant time from now on.
    public mutating func makeIndex() {
        if slots.isEmpty, values.count > EntrySet.searchLimit { index() }
    }

    /// The entry of an address, or nil.
    ///
    /// - Complexity: constant with an index, except that removing an entry makes the index again.
    public subscript(address: Address) -> Entry? {
        get {
            if slots.isEmpty { return values.first { $0.address == address } }
            let place = slots[slot(of: address)]
            return place == 0 ? nil : values[Int(place) - 1]
        }
        set {
            makeIndex()
            if slots.isEmpty { return setByPlace(values.firstIndex { $0.address == address }, newValue) }
            let slot = slot(of: address)
            let place = Int(slots[slot])
            if place == 0, let entry = newValue {
                values.append(entry)
                if values.count * 4 > slots.count * 3 { index() } else { slots[slot] = UInt32(values.count) }
            } else if place != 0 {
                setByPlace(place - 1, newValue)
                if newValue == nil { index() }
            }
        }
    }

    private mutating func setByPlace(_ place: Int?, _ entry: Entry?) {
        switch (entry, place) {
        case (let entry?, nil): values.append(entry)
        case (let entry?, let place?): values[place] = entry
        case (nil, nil): break
        case (nil, let place?):
            values.swapAt(place, values.count - 1)
            values.removeLast()
        }
    }

    /// Makes the index, and removes entries whose address has a later entry.
    private mutating func index() {
        var size = 4
        while values.count * 4 > size * 2 { size *= 2 }
        slots = ContiguousArray(repeating: 0, count: size)
        var kept = 0
        for place in values.indices {
            let entry = values[place]
            let slot = slot(of: entry.address)
            if slots[slot] != 0 {
                values[Int(slots[slot]) - 1] = entry
            } else {
                if kept != place { values[kept] = entry }
                kept += 1
                slots[slot] = UInt32(kept)
            }
        }
        values.removeLast(values.count - kept)
    }

    /// The slot that has an address, or the free slot where it belongs.
    private func slot(of address: Address) -> Int {
        let key = address.mac.value | UInt64(address.vlan?.rawValue ?? 0) << 48
        let product = (key ^ seed.0).multipliedFullWidth(by: seed.1)
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: product.high ^ product.low) & mask
        while true {
            let place = Int(slots[slot])
            if place == 0 || values[place - 1].address == address { return slot }
            slot = (slot + 1) & mask
        }
    }
}

extension EntrySet: ExpressibleByDictionaryLiteral {
    public init(dictionaryLiteral elements: (Address, Entry?)...) { self.init(elements.map(\.1)) }
}
