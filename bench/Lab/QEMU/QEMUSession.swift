import CLab
import Glibc
package import JSON
import QMP

/// An event of a QEMU.
package struct QEMUEvent: Hashable, Sendable {
    /// The host of the QEMU.
    package let host: String
    /// Its name, as in QEMU's schema.
    package let name: String
    /// The time of the event according to QEMU, in nanoseconds of CLOCK_REALTIME.
    package let time: Int64
    /// The new status, in MIGRATION.
    package let status: String?
    /// The device that the event concerns.
    package let device: String?

    /// The event in a few words.
    package var words: String {
        var words = name
        if let status { words += " " + status }
        if let device { words += " " + device }
        return words
    }
}

/// A session of QEMU's machine protocol (QMP) over a Unix socket, with its events; used on one thread.
package final class QEMUSession {
    /// The host of its events.
    private let host: String
    private let stream: DescriptorStream
    private var waiting: [QEMUEvent] = []

    /// Connects and leaves the negotiation mode.
    ///
    /// - Parameters:
    ///   - path: the socket, which may still be missing.
    ///   - host: a name for the events.
    /// - Throws: ``LabError``.
    package init(path: String, host: String) throws {
        self.host = host
        stream = DescriptorStream(try QEMUSession.connect(path), name: "the QEMU on host \(host)")
        try execute("qmp_capabilities")
    }

    /// The port by which a program in the lab VM (bench/lab-vm) reaches its own QEMU.
    package static let labPort = "/dev/virtio-ports/qmp"

    /// Opens a character device.
    ///
    /// - Throws: ``LabError``.
    package init(device path: String) throws {
        host = ""
        let descriptor = open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw LabError("cannot open \(path): \(String(cString: strerror(errno)))") }
        stream = DescriptorStream(descriptor, name: "the lab VM's QEMU")
        // The monitor greets once: the second session of a VM finds it negotiated, and gets an error.
        _ = try? execute("qmp_capabilities")
    }

    /// Connects to a socket of a QEMU that is starting.
    static func connect(_ path: String) throws -> Int32 {
        var failure: Int32 = 0
        for _ in 0..<500 {
            let descriptor = clab_connect(path)
            if descriptor >= 0 { return descriptor }
            failure = -descriptor
            usleep(20_000)
        }
        throw LabError("cannot connect to \(path): \(String(cString: strerror(failure)))")
    }

    /// Runs one command.
    ///
    /// - Parameter arguments: a JSON object.
    /// - Returns: what the command returns.
    /// - Throws: ``LabError`` with QEMU's own message.
    @discardableResult
    package func execute(_ command: String, _ arguments: String = "{}") throws(LabError) -> JSON {
        try stream.write(line: "{\"execute\": \"\(command)\", \"arguments\": \(arguments)}")
        while true {
            switch try nextMessage(timeout: 20_000) {
            case nil: throw LabError("QEMU did not answer \(command) within 20 s")
            case .greeting: break
            case .event(let event): waiting.append(QEMUEvent(event, host: host))
            case .reply(_, .success(let value)): return value
            case .reply(_, .failure(let refusal)): throw LabError("\(command): \(refusal)")
            }
        }
    }

    /// The next event; nil if there is none within the given milliseconds.
    ///
    /// - Throws: ``LabError`` if QEMU has ended.
    package func nextEvent(timeout: Int32) throws(LabError) -> QEMUEvent? {
        if !waiting.isEmpty { return waiting.removeFirst() }
        while let message = try nextMessage(timeout: timeout) {
            if case .event(let event) = message { return QEMUEvent(event, host: host) }
        }
        return nil
    }

    private func nextMessage(timeout: Int32) throws(LabError) -> QMPMessage? {
        guard let line = try stream.line(timeout: timeout) else { return nil }
        guard let message = line.withUnsafeBytes({ QMPMessage($0) }) else {
            throw LabError("QEMU said \(String(decoding: line, as: UTF8.self))")
        }
        return message
    }
}

extension QEMUEvent {
    fileprivate init(_ event: QMPEvent, host: String) {
        self.init(
            host: host, name: event.name.rawValue, time: event.time ?? 0, status: event.data["status"]?.text,
            device: event.device)
    }
}

extension QEMUSession {
    /// A flow of the bridging table of a rocker switch (`query-rocker-of-dpa-flows`, table 50).
    package struct BridgingFlow: Hashable, Sendable {
        /// The destination MAC.
        package let mac: String
        /// The VLAN in the switch.
        package let vlan: Int
        /// The port's number in the switch, from 1.
        package let port: Int
    }

    /// The flows of a rocker switch for a MAC.
    ///
    /// - Throws: ``LabError``.
    package func bridgingFlows(switch name: String, mac: String) throws(LabError) -> [BridgingFlow] {
        let flows = try execute("query-rocker-of-dpa-flows", "{\"name\": \"\(name)\", \"tbl-id\": 50}").elements ?? []
        return flows.filter { $0["key"]?["eth-dst"]?.text == mac }.map { flow in
            // A group of type "L2 interface" is the VLAN and the port.
            BridgingFlow(
                mac: mac, vlan: Int(flow["key"]?["vlan-id"]?.integer ?? 0),
                port: Int(flow["action"]?["group-id"]?.integer ?? 0) & 0xffff)
        }
    }
}
