import CNetlink
import FDB
import Netlink
import Policy
import Switchdev

/// One of a guest's ports: every frame that leaves by it, and how many of them its reader has taken.
struct WatchedPort: ~Copyable {
    private var capture: CaptureSocket
    private var account = TapAccount()
    /// As they were at the last look.
    private(set) var counters: PortCounters?
    /// Frames that left since the socket was opened.
    private(set) var seen: UInt64 = 0
    /// Every frame was seen from this one on; nil while frames were dropped that are among those to be read.
    private var completeFrom: UInt64? = 0

    /// Frames that are read in one look.
    private static let takenPerLook = 1024

    /// - Throws: ``NetlinkError`` of code `system`.
    init(_ port: PortIdentity, to macs: [MACAddress]) throws(NetlinkError) {
        capture = try CaptureSocket(on: port.index, named: port.name, to: macs)
    }

    /// The first frame that its reader had not taken at the last look; nil: not known.
    var unread: UInt64? { counters.flatMap { account.unread($0) } }

    /// How many frames wait for its reader, as far as is known.
    var waiting: Int { unread.map { Int(seen - min(seen, $0)) } ?? 0 }

    /// Whether every frame was seen from this one on.
    func isComplete(from number: UInt64) -> Bool { completeFrom.map { $0 <= number } ?? false }

    /// Reads the frames that have left by the port, or come in by it, since the last call.
    ///
    /// - Parameters:
    ///   - counters: the port's, read before this call, so that every frame that they count is among those seen.
    ///   - body: for each frame, with its number where it left by the port.
    mutating func look(
        _ counters: PortCounters?, through buffer: CaptureBuffer,
        _ body: (UnsafeMutableRawBufferPointer, cn_captured, UInt64?) -> Void
    ) {
        self.counters = counters
        var left = WatchedPort.takenPerLook
        var number = seen
        while left > 0 {
            let count = capture.take(through: buffer) { frame, details in
                guard details.outgoing != 0 else { return body(frame, details, nil) }
                body(frame, details, number)
                number += 1
            }
            left -= count
            if count < Int(CN_CAPTURE_MOST) { break }
        }
        seen = number
        if !capture.isComplete() { completeFrom = nil }
        // What was not read yet is missing in the sum.
        guard left > 0 else { return }
        if completeFrom == nil {
            completeFrom = seen
            account = TapAccount()
        }
        if let counters { account.look(counters, seen: seen) }
    }
}
