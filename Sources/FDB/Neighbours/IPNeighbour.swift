import CNetlink
public import Netlink
import System

/// One entry of the kernel's neighbour tables, ARP's or IPv6's: which MAC has an IP address on an interface (`ip neigh show`).
public struct IPNeighbour: Hashable, Sendable {
    /// The key.
    public let ip: IPAddress
    /// The interface index.
    public let interface: Int32
    /// The MAC; nil while the kernel asks for it, and after it has asked in vain.
    public let mac: MACAddress?
    /// `ndm_state`.
    public let state: EntryState
    /// `ndm_flags`.
    public let flags: EntryFlags
    /// Who made it (NDA_PROTOCOL, kernel 4.20 and later); nil for nobody in particular.
    public let `protocol`: GroupProtocol?

    /// Makes an entry from its fields.
    public init(
        ip: IPAddress, interface: Int32, mac: MACAddress?, state: EntryState, flags: EntryFlags = [],
        protocol: GroupProtocol? = nil
    ) {
        self.ip = ip
        self.interface = interface
        self.mac = mac
        self.state = state
        self.flags = flags
        self.protocol = `protocol`
    }

    /// The one that fdbsteer makes.
    ///
    /// The kernel collects those of every other state when the table is full, NUD_NOARP first (`neigh_forced_gc`).
    public static func own(_ ip: IPAddress, _ mac: MACAddress, interface: Int32) -> IPNeighbour {
        IPNeighbour(ip: ip, interface: interface, mac: mac, state: .permanent, protocol: .fdbsteer)
    }

    /// fdbsteer made it, and no control plane has taken it over since: the protocol stays when one replaces an entry without naming
    /// its own.
    public var isOwn: Bool { `protocol` == .fdbsteer && !isControlPlanes }
    /// A control plane made it: `NTF_EXT_LEARNED`.
    public var isControlPlanes: Bool { flags.contains(.externallyLearned) }
    /// It neither ages nor is asked for: `NUD_PERMANENT` or `NUD_NOARP`.
    public var isStatic: Bool { !state.isDisjoint(with: [.permanent, .noARP]) }

    /// The interface index in the payload of a neighbour message; nil if it is of another family than IPv4's and IPv6's.
    public static func interface(of payload: UnsafeRawBufferPointer) -> Int32? {
        guard payload.count >= MemoryLayout<ndmsg>.size else { return nil }
        let fixed = payload.loadUnaligned(as: ndmsg.self)
        return fixed.ndm_family == UInt8(AF_INET) || fixed.ndm_family == UInt8(AF_INET6) ? fixed.ndm_ifindex : nil
    }

    /// Decodes the payload of an RTM_NEWNEIGH or RTM_DELNEIGH message of family AF_INET or AF_INET6.
    ///
    /// - Returns: nil if it is of another family, or names no address.
    /// - Throws: ``NetlinkError`` of code `malformed` for bytes that no kernel sends.
    public init?(decoding payload: UnsafeRawBufferPointer) throws(NetlinkError) {
        guard IPNeighbour.interface(of: payload) != nil else { return nil }
        let fixed = payload.loadUnaligned(as: ndmsg.self)
        var ip: IPAddress?
        var mac: MACAddress?
        var maker: GroupProtocol?
        var attributes = AttributeReader(payload, from: MemoryLayout<ndmsg>.size)
        while let attribute = attributes.next() {
            switch attribute.type {
            case Int(NDA_DST): ip = IPAddress(octets: attribute.bytes)
            case Int(NDA_LLADDR): mac = MACAddress(octets: attribute.bytes)
            case Int(NDA_PROTOCOL): maker = attribute.integer().map(GroupProtocol.init(rawValue:))
            default: break
            }
        }
        if attributes.isMalformed {
            throw NetlinkError(.malformed, "neighbour message with an attribute that does not fit")
        }
        guard let ip else { return nil }
        self.init(
            ip: ip, interface: fixed.ndm_ifindex, mac: mac, state: EntryState(rawValue: fixed.ndm_state),
            flags: EntryFlags(rawValue: fixed.ndm_flags), protocol: maker)
    }

    /// Reads single entries with the kernel's own lookup (kernel 5.0 and later).
    ///
    /// - Parameter keys: IP addresses and interface indexes.
    /// - Returns: for each its entry; nil where there is none, or no such interface.
    /// - Throws: ``NetlinkError`` if answers are lost.
    public static func read(
        _ keys: [(ip: IPAddress, interface: Int32)], using socket: inout CommandSocket
    ) throws(NetlinkError) -> [IPNeighbour?] {
        var found = [IPNeighbour?](repeating: nil, count: keys.count)
        try socket.get(keys.map { IPNeighbourRequest.get($0.ip, interface: $0.interface) }) {
            (index, reply) throws(NetlinkError) in
            switch reply {
            case .success(let (_, payload)): found[index] = try IPNeighbour(decoding: payload)
            case .failure(let error):
                guard error.errno == .noEntry || error.errno == .noDevice else {
                    throw error.during("cannot read the neighbour \(keys[index].ip)")
                }
            }
        }
        return found
    }
}

extension IPNeighbour: CustomStringConvertible {
    /// The entry as `ip neigh show` prints it, but without names: `192.0.2.7 ifindex 3 lladdr 52:54:00:12:34:56 proto 253 PERMANENT`.
    public var description: String { "\(ip) ifindex \(interface) \(words)" }

    /// The MAC, the flags, the protocol and the state as `ip neigh show` prints them.
    public var words: String {
        var words = mac.map { ["lladdr \($0)"] } ?? []
        if isControlPlanes { words.append("extern_learn") }
        if let maker = self.protocol { words.append("proto \(maker.rawValue)") }
        words.append(
            state.contains(.permanent)
                ? "PERMANENT" : state.contains(.noARP) ? "NOARP" : mac == nil ? "FAILED" : "dynamic")
        return words.joined(separator: " ")
    }
}
