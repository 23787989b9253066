import JSON

/// One call of a Varlink client (https://varlink.org/Method-Call): a JSON object.
struct Call {
    /// The interface and the method: `io.fdbsteer.Switch`.
    let method: String
    /// The interface alone.
    let interface: String
    /// The method alone.
    let name: String
    let parameters: [JSON.Member]
    /// The client takes several replies.
    let wantsMore: Bool
    /// The client takes no reply.
    let isOneWay: Bool

    /// - Returns: nil for bytes that are no call, or one that asks for another protocol (`upgrade`).
    init?(_ bytes: UnsafeRawBufferPointer) {
        guard let json = JSON(bytes), let method = json["method"]?.text else { return nil }
        func flag(_ name: String) -> Bool? {
            switch json[name] {
            case nil, .null: false
            case .bool(let value): value
            default: nil
            }
        }
        guard let wantsMore = flag("more"), let isOneWay = flag("oneway"), flag("upgrade") == false else { return nil }
        switch json["parameters"] {
        case nil, .null: parameters = []
        case .object(let members): parameters = members
        default: return nil
        }
        self.method = method
        let dot = method.utf8.lastIndex(of: UInt8(ascii: "."))
        interface = dot.map { String(method[..<$0]) } ?? ""
        name = dot.map { String(method[method.index(after: $0)...]) } ?? method
        self.wantsMore = wantsMore
        self.isOneWay = isOneWay
    }
}

/// An error reply.
struct VarlinkError: Error {
    /// With its interface: `io.fdbsteer.Failed`.
    let name: String
    let parameters: [JSON.Member]

    init(_ name: String, _ parameters: [JSON.Member] = []) {
        self.name = name
        self.parameters = parameters
    }

    /// An error of the interface that every service has (https://varlink.org/Service).
    static func service(_ name: String, _ parameter: String? = nil, _ value: String = "") -> VarlinkError {
        VarlinkError("org.varlink.service.\(name)", parameter.map { [JSON.Member($0, .string(value))] } ?? [])
    }

    static func invalid(_ parameter: String) -> VarlinkError { service("InvalidParameter", "parameter", parameter) }
}

/// The bytes of replies, each with the NUL that ends it.
enum Reply {
    static func bytes(_ parameters: JSON, continues: Bool = false) -> [UInt8] {
        var members = [JSON.Member("parameters", parameters)]
        if continues { members.append(JSON.Member("continues", .bool(true))) }
        return bytes(members)
    }

    static func bytes(_ error: VarlinkError) -> [UInt8] {
        bytes([JSON.Member("error", .string(error.name)), JSON.Member("parameters", .object(error.parameters))])
    }

    /// A reply that is followed by others, with a part that is JSON already.
    static func bytes(event line: [UInt8]) -> [UInt8] {
        Array(#"{"parameters":{"event":"#.utf8) + line + Array(#"},"continues":true}"#.utf8) + [0]
    }

    private static func bytes(_ members: [JSON.Member]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(2048)
        JSON.object(members).write(to: &bytes)
        bytes.append(0)
        return bytes
    }
}
