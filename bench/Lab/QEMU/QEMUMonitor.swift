import FoundationEssentials
import Glibc

/// QEMU's machine protocol (QMP) through a character device, with which a program in the lab VM reaches its own QEMU.
///
/// It has one session: the monitor greets once, and one command is in progress at a time.
public final class QEMUMonitor {
    private let descriptor: Int32
    private var rest: [UInt8] = []

    /// The lab VM's port (bench/lab-vm).
    public static let labPort = "/dev/virtio-ports/qmp"

    /// A flow in the bridging table of a rocker switch (`query-rocker-of-dpa-flows`, table 50).
    public struct BridgingFlow: Hashable, Sendable {
        /// The destination MAC.
        public let mac: String
        /// The VLAN inside the switch.
        public let vlan: Int
        /// The port's number in the switch, from 1.
        public let port: Int
    }

    /// Opens the port and leaves the negotiation mode.
    ///
    /// - Throws: ``LabError``.
    public init(path: String = QEMUMonitor.labPort) throws {
        descriptor = open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw LabError("cannot open \(path): \(String(cString: strerror(errno)))") }
        // A second session in the same VM gets an error here, which does not matter.
        _ = try execute("{\"execute\": \"qmp_capabilities\"}")
    }

    deinit { close(descriptor) }

    /// The flows of a rocker switch for a MAC.
    ///
    /// - Throws: ``LabError``.
    public func bridgingFlows(switch name: String, mac: String) throws -> [BridgingFlow] {
        struct Reply: Decodable {
            struct Flow: Decodable {
                struct Key: Decodable {
                    let ethDst: String?
                    let vlanId: Int?
                    enum CodingKeys: String, CodingKey { case ethDst = "eth-dst", vlanId = "vlan-id" }
                }
                struct Action: Decodable {
                    let groupId: Int?
                    enum CodingKeys: String, CodingKey { case groupId = "group-id" }
                }
                let key: Key
                let action: Action
            }
            let `return`: [Flow]
        }
        let line = try execute(
            "{\"execute\": \"query-rocker-of-dpa-flows\", \"arguments\": {\"name\": \"\(name)\", \"tbl-id\": 50}}")
        let reply: Reply
        do { reply = try JSONDecoder().decode(Reply.self, from: Data(line)) } catch {
            throw LabError("QEMU answered \(String(decoding: line, as: UTF8.self)): \(error)")
        }
        return reply.return.filter { $0.key.ethDst == mac }.map {
            // A group of type "L2 interface" contains the VLAN and the port.
            BridgingFlow(mac: mac, vlan: $0.key.vlanId ?? 0, port: ($0.action.groupId ?? 0) & 0xffff)
        }
    }

    /// Sends one command and returns the line that answers it; events and the greeting are skipped.
    private func execute(_ command: String) throws -> [UInt8] {
        let bytes = Array((command + "\n").utf8)
        guard write(descriptor, bytes, bytes.count) == bytes.count else {
            throw LabError("cannot write to QEMU: \(String(cString: strerror(errno)))")
        }
        while true {
            let line = try readLine()
            let text = String(decoding: line, as: UTF8.self)
            if text.contains("\"return\"") || text.contains("\"error\"") { return line }
        }
    }

    private func readLine() throws -> [UInt8] {
        while true {
            if let end = rest.firstIndex(of: 0x0a) {
                let line = Array(rest[..<end])
                rest.removeSubrange(...end)
                return line
            }
            var polled = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&polled, 1, 10_000) > 0 else { throw LabError("QEMU did not answer within 10 s") }
            var chunk = [UInt8](repeating: 0, count: 65536)
            let count = read(descriptor, &chunk, chunk.count)
            guard count > 0 else { throw LabError("QEMU's monitor ended") }
            rest += chunk[..<count]
        }
    }
}
