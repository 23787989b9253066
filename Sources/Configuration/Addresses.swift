package import FDB

/// The address at which the metrics are served.
package struct ListenAddress: Hashable, Sendable, CustomStringConvertible {
    /// The IP address.
    package let host: IPAddress
    /// The port, 1 to 65535.
    package let port: Int

    /// - Parameters:
    ///   - host: the IP address.
    ///   - port: the port, 1 to 65535.
    package init(host: IPAddress, port: Int) {
        self.host = host
        self.port = port
    }

    /// - Parameter text: an address and port, `127.0.0.1:9923` or `[::1]:9923`.
    /// - Returns: nil for anything else.
    package init?(_ text: String) {
        guard !text.utf8.contains(0), let colon = text.lastIndex(of: ":") else { return nil }
        var host = text[..<colon]
        let digits = text[text.index(after: colon)...]
        let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
        if isBracketed { host = host.dropFirst().dropLast() }
        guard let address = IPAddress(String(host)), address.isIPv6 == isBracketed,
            digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(digits), port > 0
        else { return nil }
        self.init(host: address, port: Int(port))
    }

    package var description: String { host.isIPv6 ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
