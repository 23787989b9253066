public import FDB

/// What a guest's announcement is to say, and how often.
public struct AnnouncementRequest: Hashable, Sendable {
    /// An IP address, with the guest's address that it goes with; nil: the guest has one address only.
    public struct Owned: Hashable, Sendable {
        /// The IP address.
        public let ip: IPAddress
        /// The guest's address.
        public let address: Address?

        /// Makes one from its parts.
        public init(ip: IPAddress, address: Address? = nil) {
            self.ip = ip
            self.address = address
        }

        /// Reads `IP` or `IP=MAC[/VLAN]`.
        ///
        /// - Throws: ``ControllerError`` of code `usage`.
        public init(_ text: String) throws(ControllerError) {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let ip = IPAddress(String(parts.first ?? "")), !ip.isMulticast, !ip.isUnspecified else {
                throw ControllerError(
                    .usage, "\"\(text)\" begins with no IP address of an interface",
                    remedy: "write 192.0.2.7 or 2001:db8::7, with =MAC[/VLAN] where the guest has several addresses")
            }
            var address: Address?
            if parts.count > 1 {
                do throws(AddressError) {
                    address = try Address(String(parts[1]))
                } catch {
                    throw ControllerError(.usage, error.description)
                }
            }
            self.init(ip: ip, address: address)
        }
    }

    /// Beside a RARP frame for each address.
    public let ips: [Owned]
    /// How many rounds, at least one.
    public let count: Int
    /// Between rounds, in nanoseconds.
    public let interval: Int64

    /// - Parameters:
    ///   - ips: announced beside a RARP frame for each address.
    ///   - count: how many rounds.
    ///   - interval: between rounds, in nanoseconds.
    public init(ips: [Owned] = [], count: Int = 5, interval: Int64 = 100_000_000) {
        self.ips = ips
        self.count = max(1, count)
        self.interval = max(0, interval)
    }
}
