import FDB
import Glibc
import Lab
import LossMeter
import Synchronization
import System

/// What the fabric sees of a guest with one port while it migrates, from the preparation of the target on.
///
/// On request the target's port speaks too early, as a pod's kernel does that has the guest's MAC before the guest is there
/// (IPv6's duplicate address detection, neighbour advertisements): frames with that MAC come in by the port, through a veth whose
/// ingress tc redirects to the port's (tc-mirred(8)).
final class FabricWatch: Sendable {
    /// What was seen.
    struct Figures: Sendable {
        /// The times when the guest's MAC moved from one port of the fabric's bridge to another, in nanoseconds of
        /// CLOCK_REALTIME.
        var moves: [Int64] = []
        /// Early frames that came in by the target's port.
        var sent = 0
        /// The times when early frames reached the fabric.
        var left: [Int64] = []
    }

    private static let speaker = "early0"
    private static let patience: UInt32 = 500
    /// The most seconds of early frames.
    private static let longest = 120

    private let target: MigrationHosts.Host
    private let state = Mutex(Figures())
    private let isOver = Atomic(false)
    private let thread = Mutex<LabThread?>(nil)
    private let stream = Mutex<Held<FrameStream>?>(nil)

    /// Begins to watch.
    ///
    /// - Parameter rate: early frames a second; 0: none.
    /// - Throws: ``LabError``.
    init(_ hosts: MigrationHosts, _ guest: MigrationGuest, target: MigrationHosts.Host, rate: Int) throws {
        self.target = target
        let (bridge, port, octets) = (hosts.fabricBridge, target.fabricPort, Interface.octets(guest.mac))
        let mac = MACAddress(guest.mac)
        let started = try hosts.fabric.run { [self] in
            let monitor = Held(try FDBMonitor())
            // A bridge takes a port's frames before sockets for one EtherType see them.
            let frames = try Interface.open(port, type: FabricWatch.every, receiveBuffer: 4 << 20)
            let known = try Command.run(["bridge", "fdb", "get", guest.mac, "br", bridge]).output
            let place = known.firstMatch(of: /dev (\S+)/).flatMap { if_nametoindex(String($0.output.1)) }
            return try Namespace.thread { [self] in
                watch(monitor, mac, at: place.map(Int32.init), frames, from: octets)
                close(frames)
            }
        }
        thread.withLock { $0 = started }
        if rate > 0 { try speak(guest, octets, rate) }
    }

    /// ETH_P_ALL.
    private static let every: UInt16 = 3
    /// The EtherType of the bench's frames (bench/LossMeter/Frames/Frame.swift).
    private static let type: [UInt8] = [0x88, 0xb5]

    /// Made on one thread, and used on another.
    private final class Held<T: ~Copyable>: @unchecked Sendable {
        let value: T
        init(_ value: consuming T) { self.value = value }
    }

    private func speak(_ guest: MigrationGuest, _ mac: [UInt8], _ rate: Int) throws {
        let name = FabricWatch.speaker
        let far = MigrationHosts.far(name)
        let begun = try target.namespace.run {
            try Command.script(
                """
                ip link add \(name) type veth peer name \(far)
                ip link set \(name) addrgenmode none
                ip link set \(far) addrgenmode none
                ip link set \(name) up
                ip link set \(far) up
                tc qdisc add dev \(name) clsact
                tc filter add dev \(name) ingress protocol all u32 match u32 0 0 action mirred ingress redirect dev \(guest.standby)
                """)
            return Held(
                try FrameStream(
                    interface: far, destination: [UInt8](repeating: 0xff, count: 6), source: mac, run: .max, rate: rate,
                    start: Stopwatch.realTime, capacity: rate * FabricWatch.longest))
        }
        stream.withLock { $0 = begun }
    }

    /// Ends the early frames, as the guest is there.
    func hush() {
        let running = stream.withLock { stream -> Held<FrameStream>? in
            defer { stream = nil }
            return stream
        }
        guard let running else { return }
        let sent = running.value.stop().count { $0 != 0 }
        state.withLock { $0.sent += sent }
    }

    /// Ends the watch, and removes what it made.
    ///
    /// - Throws: ``LabError``.
    func stop() throws -> Figures {
        hush()
        let name = FabricWatch.speaker
        try target.namespace.run {
            if if_nametoindex(name) != 0 { try Command.script("ip link delete \(name)") }
        }
        isOver.store(true, ordering: .releasing)
        let running = thread.withLock { thread -> LabThread? in
            defer { thread = nil }
            return thread
        }
        running?.join()
        return state.withLock { $0 }
    }

    private func watch(
        _ monitor: Held<FDBMonitor>, _ mac: MACAddress?, at place: Int32?, _ frames: Int32, from octets: [UInt8]
    ) {
        var place = place
        var bytes = [UInt8](repeating: 0, count: 64)
        while true {
            let isLast = isOver.load(ordering: .acquiring)
            var moves = 0
            _ = try? monitor.value.drain { change in
                guard !change.isRemoval, change.entry.bridge != nil, change.entry.address.mac == mac else { return }
                if let place, place != change.entry.port { moves += 1 }
                place = change.entry.port
            }
            let now = Stopwatch.realTime
            if moves > 0 { state.withLock { $0.moves += Array(repeating: now, count: moves) } }
            while case let size = recv(frames, &bytes, bytes.count, Int32(MSG_DONTWAIT)), size >= 14 {
                // The guest's own frames have another EtherType.
                if bytes[6..<14].elementsEqual(octets + FabricWatch.type) { state.withLock { $0.left.append(now) } }
            }
            if isLast { return }
            usleep(FabricWatch.patience)
        }
    }
}
