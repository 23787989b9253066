public import FDB

/// The contents of a guest's announcement, and how often it is sent.
public struct AnnouncementRequest: Hashable, Sendable {
    /// An IP address and the guest address that it belongs to, or nil if the guest has only one address.
    public struct Owned: Hashable, Sendable, CustomStringConvertible {
        /// The IP address.
        public let ip: IPAddress
        /// The guest's address.
        public let address: Address?

        /// Makes an owned address from its fields.
        public init(ip: IPAddress, address: Address? = nil) {
            self.ip = ip
            self.address = address
        }

        /// Parses `IP` or `IP=MAC[/VLAN]`.
        ///
        /// - Throws: ``ControllerError`` of code `usage`.
        public init(_ text: String) throws(ControllerError) {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let ip = IPAddress(String(parts.first ?? "")), ip.isOfAnInterface else {
                throw ControllerError(
                    .usage, "\"\(text)\" begins with no IP address that an interface has for others",
                    remedy: "write 192.0.2.7 or 2001:db8::7, with =MAC[/VLAN] where the guest has several addresses")
            }
            var address: Address?
            if parts.count > 1 {
                do throws(AddressError) {
                    address = try Address(String(parts[1]))
                } catch {
                    throw ControllerError(.usage, error.message, remedy: error.remedy)
                }
            }
            self.init(ip: ip, address: address)
        }

        /// The form that ``init(_:)`` parses.
        public var description: String { "\(ip)\(address.map { "=\($0)" } ?? "")" }

        /// The VLAN in which a guest has the IP address.
        ///
        /// - Parameter addresses: the guest's.
        /// - Throws: ``ControllerError`` of code `usage` where that is not known.
        package func vlan(among addresses: [Address]) throws(ControllerError) -> VLANID? {
            let owners = addresses.filter { own in
                address.map { $0.mac == own.mac && ($0.vlan == nil || $0.vlan == own.vlan) } ?? true
            }
            guard let first = owners.first, owners.allSatisfy({ $0.vlan == first.vlan }) else {
                let known = addresses.map(\.description).joined(separator: ", ")
                throw ControllerError(
                    .usage,
                    owners.isEmpty
                        ? "\(self): \(address.map(\.description) ?? "") is no address of the guest"
                        : "the guest has addresses in several VLANs: in which of them has it \(ip)?",
                    remedy: "write \(ip)=MAC/VLAN with one of \(known)")
            }
            return first.vlan
        }
    }

    /// The IP addresses that are announced in addition to a RARP frame for each address.
    public let ips: [Owned]
    /// The number of rounds, at least one.
    public let count: Int
    /// The time between rounds, in nanoseconds.
    public let interval: Int64

    /// - Parameters:
    ///   - ips: announced in addition to a RARP frame for each address.
    ///   - count: the number of rounds.
    ///   - interval: the time between rounds, in nanoseconds.
    public init(ips: [Owned] = [], count: Int = 5, interval: Int64 = 100_000_000) {
        self.ips = ips
        self.count = max(1, count)
        self.interval = max(0, interval)
    }
}
