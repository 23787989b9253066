import CNetlink
import Glibc
import Netlink
import Policy
import System

/// Packet sockets on a guest's ports, through one filter.
struct InquirySockets: ~Copyable {
    /// What has input when one of the sockets has.
    private let events: EventSet
    private let sockets: [Int32]

    /// - Throws: ``NetlinkError`` of code `system`; nothing is open.
    init(on ports: [PortIdentity], _ filter: [sock_filter]) throws(NetlinkError) {
        let set: EventSet
        do throws(SystemError) {
            set = try EventSet()
        } catch {
            throw NetlinkError(.system, "cannot wait for frames", errno: error.errno)
        }
        var opened: [Int32] = []
        do throws(NetlinkError) {
            for port in ports {
                let socket = try openPacketSocket(on: port.index, named: port.name, filter)
                opened.append(socket)
                set.watch(socket, token: 0)
            }
        } catch {
            for socket in opened { closePacketSocket(socket) }
            throw error
        }
        events = set
        sockets = opened
    }

    deinit { for socket in sockets { closePacketSocket(socket) } }

    /// For poll(2).
    var descriptor: Int32 { events.descriptor }

    /// Takes the frames that have come, at most so many of each port.
    func take(most: Int, _ body: (UnsafeRawBufferPointer) -> Void) {
        withUnsafeTemporaryAllocation(byteCount: 128, alignment: 8) { buffer in
            for socket in sockets {
                for _ in 0..<most {
                    let count = recv(socket, buffer.baseAddress, buffer.count, 0)
                    // ENETDOWN is told once when the port goes down.
                    if count < 0, errno == EINTR || errno == ENETDOWN { continue }
                    if count < 0 { break }
                    body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                }
            }
        }
    }

    /// Sends a frame by one of the ports, by its number among them.
    ///
    /// - Returns: nil, or errno.
    func send(_ frame: [UInt8], by number: Int) -> Int32? {
        Glibc.send(sockets[number], frame, frame.count, 0) < 0 ? errno : nil
    }
}
