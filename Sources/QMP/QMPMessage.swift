public import JSON

/// One message of a QEMU monitor (docs/interop/qmp-spec.rst in QEMU's source).
public enum QMPMessage: Hashable, Sendable {
    /// The first message, with QEMU's version, for example `10.0.2`.
    case greeting(version: String)
    /// The answer to a command, with the command's id.
    case reply(id: Int64?, Result<JSON, QMPRefusal>)
    /// An event.
    case event(QMPEvent)

    /// Whether a line is an event, by its members' names alone: the values of a long one take their time.
    static func isEvent(_ line: UnsafeRawBufferPointer) -> Bool {
        var isEvent = false
        let isObject = JSONReader.members(of: line) { name, _ in isEvent = isEvent || name == "event" }
        return isObject && isEvent
    }

    /// Decodes one line.
    ///
    /// - Returns: nil if it is not a message of a monitor.
    public init?(_ line: UnsafeRawBufferPointer) {
        guard let content = JSON(line), case .object = content else { return nil }
        if let name = content["event"]?.text {
            self = .event(
                QMPEvent(
                    QMPEvent.Name(rawValue: name), time: QMPEvent.time(content["timestamp"]),
                    data: content["data"] ?? .null))
        } else if let value = content["return"] {
            self = .reply(id: content["id"]?.integer, .success(value))
        } else if let error = content["error"] {
            self = .reply(id: content["id"]?.integer, .failure(QMPRefusal(error)))
        } else if let greeting = content["QMP"] {
            let version = greeting["version"]?["qemu"]
            let parts = ["major", "minor", "micro"].compactMap { version?[$0]?.integer }
            self = .greeting(version: parts.map(String.init).joined(separator: "."))
        } else {
            return nil
        }
    }
}

/// The reason why QEMU refused a command.
public struct QMPRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// QEMU's error class: `GenericError`, `CommandNotFound`, `DeviceNotFound`.
    public let kind: String
    /// QEMU's text.
    public let text: String

    init(_ error: JSON) {
        kind = error["class"]?.text ?? "GenericError"
        text = error["desc"]?.text ?? "\(error)"
    }

    public var description: String { "\(text) (\(kind))" }
}
