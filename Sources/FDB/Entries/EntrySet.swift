/// Entries by address, for tables of any size: an array in the order in which the kernel told them, and an index of it.
///
/// The index takes four to eight bytes for each entry, and is made by the first change, or by ``makeIndex()``: whoever reads a
/// table and goes through it has no use for it. Until then a lookup goes through the entries, which takes as long as the
/// index for some fifty of them. A dictionary costs more than reading the table does: it hashes for adversaries, and
/// moves all entries each time it grows. The index multiplies by a random number: guests choose their MACs, but do not know
/// it.
public struct EntrySet: Sendable {
    /// The entries, in no order that means anything.
    public private(set) var values: ContiguousArray<Entry>
    /// Places in `values` plus one, 0 for none; a power of two, and at least a quarter free. Empty: there is no index.
    private var slots: ContiguousArray<UInt32> = []
    private let seed = EntrySet.processSeed
    /// One for the whole process: each takes two system calls.
    private static let processSeed: (UInt64, UInt64) = (.random(in: .min ... .max), .random(in: .min ... .max) | 1)
    /// So few are found as quickly without an index.
    private static let searchLimit = 16

    /// - Parameter entries: of several of one address the last holds.
    public init(_ entries: ContiguousArray<Entry> = []) {
        guard entries.count <= EntrySet.searchLimit else {
            values = entries
            index()
            return
        }
        values = []
        for entry in entries { self[entry.address] = entry }
    }

    /// - Parameter entries: no two of one address.
    init(distinct entries: ContiguousArray<Entry>) { values = entries }

    /// Makes a set of answers to questions about single addresses: who has no entry is not in it.
    public init(_ answers: [Entry?]) {
        // Not by a chain of lazy sequences: the first of their types costs a process 0.9 million instructions.
        var entries: ContiguousArray<Entry> = []
        for case .some(let entry) in answers { entries.append(entry) }
        self.init(entries)
    }

    /// How many there are.
    public var count: Int { values.count }

    /// Makes every lookup constant from now on.
    public mutating func makeIndex() {
        if slots.isEmpty, values.count > EntrySet.searchLimit { index() }
    }

    /// The entry of an address; nil for none.
    ///
    /// - Complexity: constant where there is an index, but for taking an entry out, which makes the index anew.
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

    /// Makes the index, and takes out entries of whose address there is a later one.
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

    /// The slot that has an address, or the free one where it belongs.
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
