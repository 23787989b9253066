import Glibc

/// Collects entries whose number is not known in advance: realloc(3) grows in place, or moves pages instead of bytes.
///
/// An array that grows copies itself each time, and the C library returns the freed memory to the kernel and takes it again
/// for the next table: at 10,000 entries 280 page faults a table, an eighth of its time.
///
/// Entries own no memory, so none needs to be deinitialised.
struct EntryBuffer: ~Copyable {
    private var start: UnsafeMutablePointer<Entry>?
    private var count = 0
    private var capacity = 0

    deinit { free(start) }

    mutating func append(_ entry: Entry) {
        if count == capacity { grow() }
        // There is room, so `start` is not nil.
        start?.advanced(by: count).initialize(to: entry)
        count += 1
    }

    private mutating func grow() {
        capacity = max(256, capacity * 2)
        guard let larger = realloc(start, capacity * MemoryLayout<Entry>.stride) else {
            fatalError("no memory for \(capacity) bridge entries")
        }
        start = larger.assumingMemoryBound(to: Entry.self)
    }

    /// The appended entries, in an array without spare capacity.
    var entries: ContiguousArray<Entry> { ContiguousArray(UnsafeBufferPointer(start: start, count: count)) }
}
