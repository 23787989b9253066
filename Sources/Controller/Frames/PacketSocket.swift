import CNetlink
import FDB
import Glibc
import Netlink
import Switchdev
import System

/// Opens a socket of packet(7) on a port, which the loop does not wait for; to be closed by `closePacketSocket`.
///
/// - Parameter filter: what it receives (``FrameFilter``); everything without one.
/// - Throws: ``NetlinkError`` of code `system`.
func openPacketSocket(on port: Int32, named name: String, _ filter: [sock_filter] = []) throws(NetlinkError) -> Int32 {
    try systemCall("opening a packet socket on \(name)") {
        let result = filter.withUnsafeBufferPointer {
            cn_packet_socket(port, filter.isEmpty ? nil : $0.baseAddress, UInt16(filter.count))
        }
        if result < 0 { errno = -result }
        return result < 0 ? -1 : result
    }
}

/// Instructions of the classic packet filter (linux/filter.h).
enum FrameFilter {
    /// One instruction; `yes` and `no` are how many are passed over.
    static func step(_ code: Int32, _ value: UInt32, yes: UInt8 = 0, no: UInt8 = 0) -> sock_filter {
        sock_filter(code: UInt16(code), jt: yes, jf: no, k: value)
    }

    /// Accepts a frame from a MAC, and keeps so many octets of it; goes on with others.
    static func accept(from mac: MACAddress, octets: UInt32) -> [sock_filter] {
        let isEqual = BPF_JMP | BPF_JEQ | BPF_K
        return [
            step(BPF_LD | BPF_W | BPF_ABS, 8), step(isEqual, UInt32(truncatingIfNeeded: mac.value), no: 3),
            step(BPF_LD | BPF_H | BPF_ABS, 6), step(isEqual, UInt32(truncatingIfNeeded: mac.value >> 32), no: 1),
            step(BPF_RET | BPF_K, octets),
        ]
    }

    /// Accepts a frame that goes to a question's source (``Ask``), and ARP without a sender's address (RFC 5227), and keeps so many
    /// octets of it; drops others.
    static func acceptAnswers(octets: UInt32) -> [sock_filter] {
        let isEqual = BPF_JMP | BPF_JEQ | BPF_K
        let prefix = UInt32(truncatingIfNeeded: Ask(place: 0, number: 0).mac.value >> 24)
        return [
            step(BPF_LD | BPF_W | BPF_ABS, 0), step(BPF_ALU | BPF_RSH | BPF_K, 8), step(isEqual, prefix, yes: 4),
            step(BPF_LD | BPF_H | BPF_ABS, 12), step(isEqual, UInt32(ETH_P_ARP), no: 3),
            // The sender's IPv4 address.
            step(BPF_LD | BPF_W | BPF_ABS, 28), step(isEqual, 0, no: 1),
            step(BPF_RET | BPF_K, octets), step(BPF_RET | BPF_K, 0),
        ]
    }
}
