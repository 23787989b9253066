import Glibc
import Lab
import Netlink
import Switchdev
import Synchronization
import System

/// What one guest can do without end, at a steady rate, on a thread of its own: its QEMU's monitor, its frames and its link.
///
/// While it is off the monitor answers, and the guest sends five frames a second by its primary.
final class GuestStorm {
    /// What it does.
    enum Kind: String, CaseIterable, Encodable, Sendable {
        /// It changes its receive filter: each answer has 60 other MACs than the one before.
        case filters
        /// It reloads its driver: FAILOVER_NEGOTIATED, and a frame by its primary.
        case negotiations
        /// It is asked for its primary (UNPLUG_PRIMARY), gives it up (DEVICE_DELETED), and takes it again as above.
        case unplugs
        /// The carrier of its primary comes and goes.
        case carrier
    }

    private final class Shared: Sendable {
        let isOn = Atomic(false)
        let stop = Atomic(false)
        let made = Atomic<Int>(0)
    }

    private let shared = Shared()
    private let thread: LabThread
    /// The path of the monitor's socket.
    let monitorPath: String

    /// The ids of its devices in QEMU.
    static let (standbyDevice, primaryDevice) = ("net0", "vf")

    /// - Parameters:
    ///   - kind: what it does.
    ///   - rate: times a second.
    ///   - far: the far end of its primary port.
    ///   - mac: its MAC.
    /// - Throws: `LabError`, `NetlinkError`.
    init(_ kind: Kind, rate: Int, far: String, mac: String) throws {
        // Used by its thread alone from here on.
        nonisolated(unsafe) let guest = try Guest(kind, far: far, mac: mac)
        monitorPath = guest.monitor.path
        let shared = shared
        thread = try Namespace.thread {
            var begin: Int64?
            var (number, lastFrame) = (0, Int64(0))
            while !shared.stop.load(ordering: .relaxed) {
                let now = monotonicNanoseconds()
                guest.serve()
                if shared.isOn.load(ordering: .relaxed) {
                    begin = begin ?? now
                    let due = Int(Double(now - (begin ?? now)) * Double(rate) / 1e9)
                    while number < due {
                        guest.act(number)
                        number += 1
                    }
                    shared.made.store(number, ordering: .relaxed)
                } else if now - lastFrame > 200_000_000 {
                    lastFrame = now
                    if begin != nil { guest.rest() }
                    begin = nil
                    number = 0
                    guest.sendFrame()
                }
                usleep(1000)
            }
        }
    }

    /// Whether it storms; each time it begins to count anew.
    var isOn: Bool {
        get { shared.isOn.load(ordering: .relaxed) }
        set { shared.isOn.store(newValue, ordering: .relaxed) }
    }
    /// What it has done since it began.
    var made: Int { shared.made.load(ordering: .relaxed) }

    /// Ends it. The daemon must have ended before, because the monitor may be sending to it.
    func stop() {
        shared.stop.store(true, ordering: .relaxed)
        thread.join()
    }

    /// The guest and its QEMU.
    private final class Guest {
        let monitor: FakeMonitor
        private let kind: Kind
        private var socket: CommandSocket
        private let far: Int32
        private let output: Int32
        private let mac: String
        private let frame: [UInt8]
        private var asked = 0

        init(_ kind: Kind, far: String, mac: String) throws {
            monitor = try FakeMonitor()
            self.kind = kind
            self.mac = mac
            socket = try CommandSocket()
            output = try Interface.open(far, type: FrameProbe.experimental, receiveBuffer: 0)
            self.far = try Interface.index(of: far) ?? 0
            frame =
                [UInt8](repeating: 0xff, count: 6) + Interface.octets(mac) + [0x88, 0xb6]
                + [UInt8](repeating: 0, count: 46)
        }

        deinit { close(output) }

        /// Answers whoever asks.
        func serve() {
            if monitor.hasClient(within: 0) {
                monitor.hangUp()
                monitor.accept()
                monitor.say(FakeMonitor.greeting)
            }
            for question in monitor.heard() {
                if question.contains("query-rx-filter") { asked += 1 }
                let macs = (10..<70).map { "\"02:0\(asked % 2):00:00:00:\($0)\"" }.joined(separator: ",")
                let filters =
                    kind == .filters
                    ? #"[{"name": "net0", "main-mac": "\#(mac)", "unicast-table": [\#(macs)]}]"# : "[]"
                monitor.say(FakeMonitor.answer(question, filters: filters))
            }
        }

        func act(_ number: Int) {
            switch kind {
            case .filters: monitor.tell("NIC_RX_FILTER_CHANGED", #"{"name": "net0"}"#)
            case .negotiations: negotiate()
            case .unplugs:
                switch number % 3 {
                case 0: monitor.tell("UNPLUG_PRIMARY", #"{"device-id": "vf"}"#)
                case 1: monitor.tell("DEVICE_DELETED", #"{"device": "vf", "path": "/machine/peripheral/vf"}"#)
                default: negotiate()
                }
            case .carrier: try? socket.perform(NICRequest.setUp(link: far, number % 2 == 1))
            }
        }

        /// The end of a storm: it has its primary, which has a carrier.
        func rest() {
            switch kind {
            case .filters: break
            case .negotiations: negotiate()
            case .unplugs:
                // The storm may have ended between a request and its answer, after which a negotiation says nothing.
                monitor.tell("DEVICE_DELETED", #"{"device": "vf", "path": "/machine/peripheral/vf"}"#)
                negotiate()
            case .carrier: try? socket.perform(NICRequest.setUp(link: far, true))
            }
        }

        func sendFrame() { _ = frame.withUnsafeBytes { send(output, $0.baseAddress, $0.count, 0) } }

        private func negotiate() {
            monitor.tell("FAILOVER_NEGOTIATED", #"{"device-id": "net0"}"#)
            sendFrame()
        }
    }
}
