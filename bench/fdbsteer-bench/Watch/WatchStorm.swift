import FDB
import Glibc
import Lab
import Netlink
import Synchronization
import System

/// Makes and deletes entries that belong to no guest, at a steady rate, on its own thread.
final class WatchStorm {
    private final class Shared: Sendable {
        let stop = Atomic(false)
        let made = Atomic<Int>(0)
        let refused = Atomic<Int>(0)
    }

    private let shared = Shared()
    private let thread: LabThread
    private let begin = monotonicNanoseconds()

    /// - Parameters:
    ///   - port: the interface index of a port that serves no guest.
    ///   - rate: changes a second.
    init(port: Int32, rate: Int) throws {
        let shared = shared
        thread = try Namespace.thread {
            guard var socket = try? CommandSocket() else { return }
            let begin = monotonicNanoseconds()
            var number = 0
            while !shared.stop.load(ordering: .relaxed) {
                let due = Int(Double(monotonicNanoseconds() - begin) * Double(rate) / 1e9)
                while number < due {
                    let count = min(CommandSocket.batchLimit, due - number)
                    let answers = socket.perform((number..<(number + count)).map { WatchStorm.change($0, port) })
                    number += count
                    shared.made.store(number, ordering: .relaxed)
                    let refused = answers.count { $0 != nil }
                    if refused > 0 { shared.refused.wrappingAdd(refused, ordering: .relaxed) }
                }
                usleep(1000)
            }
            // Delete the entries that still exist.
            let left = (number..<((number + 63) / 64 * 64)).map { WatchStorm.change($0, port) }
            _ = socket.perform(left)
        }
    }

    /// The number of changes so far.
    var made: Int { shared.made.load(ordering: .relaxed) }

    /// Stops the storm.
    ///
    /// - Returns: the achieved number of changes a second.
    /// - Throws: `LabError` if the kernel refused some: the storm was not the intended one.
    @discardableResult
    func stop() throws -> Double {
        let rate = Double(made) / (Double(monotonicNanoseconds() - begin) / 1e9)
        shared.stop.store(true, ordering: .relaxed)
        thread.join()
        let refused = shared.refused.load(ordering: .relaxed)
        guard refused == 0 else { throw LabError("the kernel refused \(refused) of \(made) changes of the storm") }
        return rate
    }

    /// The change with a given number: 32 entries are made, the same ones are deleted, then the next.
    private static func change(_ number: Int, _ port: Int32) -> EntryRequest {
        let place = number % 64
        let mac = MACAddress(value: 0x0a00_0000_0000 + UInt64(number / 64 % 1024 * 32 + place % 32))
        guard let address = try? Address(mac: mac) else { preconditionFailure("a unicast MAC is an address") }
        return place < 32
            ? .set(address, port: port, state: .noARP, flags: [.create, .replace]) : .delete(address, port: port)
    }
}

/// Receives the kernel's notifications about guests' entries; used on the thread that made it.
final class WatchEar {
    /// One notification.
    struct Heard {
        /// The time when it was read, in nanoseconds of CLOCK_MONOTONIC.
        let time: Int64
        let address: Address
        /// nil if the entry was removed.
        let port: Int32?
    }

    private let monitor: MonitorSocket
    private let addresses: Set<Address>

    /// - Parameter addresses: the addresses to report.
    init(_ addresses: Set<Address>) throws {
        monitor = try MonitorSocket(groups: [.neighbour], receiveBuffer: 64 << 20)
        self.addresses = addresses
    }

    /// Listens until a moment (CLOCK_MONOTONIC, nanoseconds), or until `body` returns true.
    ///
    /// - Returns: whether `body` ended it.
    /// - Throws: `NetlinkError`, of code `overrun` if it was itself too slow.
    func listen(until end: Int64, _ body: (Heard) -> Bool) throws -> Bool {
        var enough = false
        while !enough {
            while try monitor.receive({ (header, payload) throws(NetlinkError) in
                let time = monotonicNanoseconds()
                guard let change = try FDBMonitor.change(header, payload), addresses.contains(change.entry.address)
                else { return }
                let heard = Heard(
                    time: time, address: change.entry.address, port: change.isRemoval ? nil : change.entry.port)
                if body(heard) { enough = true }
            }), !enough, monotonicNanoseconds() < end {}
            let left = end - monotonicNanoseconds()
            if enough || left <= 0 { break }
            var polled = pollfd(fd: monitor.descriptor, events: Int16(POLLIN), revents: 0)
            _ = poll(&polled, 1, Int32(clamping: (left + 999_999) / 1_000_000))
        }
        return enough
    }

    /// Moves an address of a guest to its other port, and waits for the repair, 5 s at most.
    ///
    /// - Returns: the time in nanoseconds until the repair's notification, from the theft's notification and from just before
    ///   its request; nil without a repair.
    func steal(_ address: Address, of guest: WatchLab.Guest, in lab: WatchLab) throws -> (heard: Int64, sent: Int64)? {
        let sent = monotonicNanoseconds()
        try lab.steal(guest, address)
        var stolen: Int64?
        var times: (heard: Int64, sent: Int64)?
        _ = try listen(until: sent + 5_000_000_000) { heard in
            guard heard.address == address else { return false }
            if heard.port != guest.primary { stolen = stolen ?? heard.time }
            guard let stolen, heard.port == guest.primary else { return false }
            times = (heard.time - stolen, heard.time - sent)
            return true
        }
        return times
    }
}
