import Glibc

/// An IPv4 or IPv6 address.
public struct IPAddress: Hashable, Sendable, CustomStringConvertible {
    /// In network order: 4 bytes or 16.
    public let bytes: [UInt8]

    /// - Parameter text: `192.0.2.1`, `2001:db8::1`, as inet_pton(3) reads them.
    /// - Returns: nil for anything else, names among it.
    public init?(_ text: String) {
        guard !text.utf8.contains(0) else { return nil }
        for (family, count) in [(AF_INET, 4), (AF_INET6, 16)] {
            var bytes = [UInt8](repeating: 0, count: count)
            if inet_pton(family, text, &bytes) == 1 {
                self.bytes = bytes
                return
            }
        }
        return nil
    }

    /// It is an IPv6 address.
    public var isIPv6: Bool { bytes.count == 16 }

    /// The shortest usual text.
    public var description: String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { buffer in
            let text = inet_ntop(isIPv6 ? AF_INET6 : AF_INET, bytes, buffer.baseAddress, socklen_t(buffer.count))
            return text.map { String(cString: $0) } ?? ""
        }
    }
}

/// Where the metrics are served.
public struct ListenAddress: Hashable, Sendable, CustomStringConvertible {
    /// The address.
    public let host: IPAddress
    /// The port, 1 to 65535.
    public let port: Int

    /// - Parameters:
    ///   - host: the address.
    ///   - port: the port, 1 to 65535.
    public init(host: IPAddress, port: Int) {
        self.host = host
        self.port = port
    }

    /// - Parameter text: `127.0.0.1:9923`, `[::1]:9923`.
    /// - Returns: nil for anything else.
    public init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        var host = text[..<colon]
        let digits = text[text.index(after: colon)...]
        let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
        if isBracketed { host = host.dropFirst().dropLast() }
        guard let address = IPAddress(String(host)), address.isIPv6 == isBracketed,
            digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(digits), port > 0
        else { return nil }
        self.init(host: address, port: Int(port))
    }

    public var description: String { host.isIPv6 ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
