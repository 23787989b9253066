/// A VLAN id that may carry traffic: 1 to 4094 (IEEE 802.1Q; 0 and 4095 are reserved).
public struct VLANID: RawRepresentable, Hashable, Sendable, Comparable, CustomStringConvertible {
    public let rawValue: UInt16

    /// - Returns: nil for 0 and for numbers above 4094.
    public init?(rawValue: UInt16) {
        guard (1...4094).contains(rawValue) else { return nil }
        self.rawValue = rawValue
    }

    public static func < (left: VLANID, right: VLANID) -> Bool { left.rawValue < right.rawValue }

    public var description: String { String(rawValue) }
}

/// A MAC with an optional VLAN id: the key of a bridge FDB entry.
///
/// Only addresses that a guest may own: no multicast or broadcast address, and not all zero.
public struct Address: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The unicast MAC.
    public let mac: MACAddress
    /// nil: the bridge does not filter VLANs, or the entry has VLAN id 0.
    public let vlan: VLANID?

    /// - Parameters:
    ///   - mac: a unicast MAC.
    ///   - vlan: nil on a bridge that does not filter VLANs.
    /// - Throws: ``AddressError`` for a multicast, broadcast or zero MAC.
    public init(mac: MACAddress, vlan: VLANID? = nil) throws(AddressError) {
        if mac.isBroadcast { throw AddressError(text: mac.description, problem: .broadcast) }
        if mac.isMulticast { throw AddressError(text: mac.description, problem: .multicast) }
        if mac.isZero { throw AddressError(text: mac.description, problem: .zero) }
        self.mac = mac
        self.vlan = vlan
    }

    /// An address from a kernel message; nil if a guest may not own it. It throws no error, because bridges legitimately
    /// have entries of multicast MACs.
    init?(_ mac: MACAddress, vlanNumber number: UInt16) {
        guard !mac.isMulticast, !mac.isZero else { return nil }
        vlan = VLANID(rawValue: number)
        guard number == 0 || vlan != nil else { return nil }
        self.mac = mac
    }

    /// Parses `MAC` or `MAC/VLAN`, for example `52:54:00:12:34:56/100`.
    ///
    /// - Throws: ``AddressError`` that quotes the text and says what is wrong with it.
    public init(_ text: String) throws(AddressError) {
        let slash = text.utf8.firstIndex(of: UInt8(ascii: "/"))
        guard let mac = MACAddress(text[..<(slash ?? text.endIndex)]) else {
            throw AddressError(text: text, problem: .malformed)
        }
        var vlan: VLANID?
        if let slash {
            let digits = text[slash...].dropFirst()
            guard digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                let number = UInt16(digits), let valid = VLANID(rawValue: number)
            else { throw AddressError(text: text, problem: .vlan) }
            vlan = valid
        }
        do throws(AddressError) {
            try self.init(mac: mac, vlan: vlan)
        } catch {
            throw AddressError(text: text, problem: error.problem)
        }
    }

    public static func < (left: Address, right: Address) -> Bool {
        (left.mac.value, left.vlan?.rawValue ?? 0) < (right.mac.value, right.vlan?.rawValue ?? 0)
    }

    /// The form that ``init(_:)`` parses.
    public var description: String { vlan.map { "\(mac)/\($0)" } ?? mac.description }
}

/// The reason why a text or a MAC is not an address that a guest may own.
public struct AddressError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What is wrong.
    public enum Problem: Sendable {
        /// The text is not `XX:XX:XX:XX:XX:XX` with an optional `/VLAN`.
        case malformed
        /// The group bit is set.
        case multicast
        /// All bits are one.
        case broadcast
        /// All bits are zero.
        case zero
        /// The VLAN id is not a number from 1 to 4094.
        case vlan
    }

    /// The text as given.
    public let text: String
    /// What is wrong with it.
    public let problem: Problem

    /// - Parameters:
    ///   - text: the text as given.
    ///   - problem: what is wrong with it.
    public init(text: String, problem: Problem) {
        self.text = text
        self.problem = problem
    }

    /// What is wrong with the text.
    public var message: String {
        let reason =
            switch problem {
            case .malformed: "is not a MAC address"
            case .multicast: "is a multicast MAC (lowest bit of the first octet set)"
            case .broadcast: "is the broadcast MAC"
            case .zero: "is the all-zero MAC, which means \"none\" to NIC drivers"
            case .vlan: "has no valid VLAN id after the \"/\""
            }
        return "address \"\(text)\" \(reason)"
    }

    /// What to do.
    public var remedy: String {
        switch problem {
        case .malformed: "write it as 52:54:00:12:34:56, with /VLAN on a VLAN-aware bridge"
        case .multicast, .broadcast: "a guest interface has unicast MACs"
        case .zero: "name the guest's own MAC"
        case .vlan: "VLAN ids go from 1 to 4094"
        }
    }

    public var description: String { "\(message); \(remedy)" }
}
