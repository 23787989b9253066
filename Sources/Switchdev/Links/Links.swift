public import Netlink
import System

/// A snapshot of the interfaces of one network namespace.
public struct Links: Sendable {
    /// The interfaces in the kernel's order.
    public let all: [Link]
    /// Interface indexes of the ports whose entries reach hardware.
    public let eswitchPorts: [Int32]
    private let byIndex: [Int32: Int]?
    private var byName: [String: Int]?
    /// Shorter lists are searched as fast, and the first dictionary of a type costs a process a long time.
    private static let searchLimit = 16

    /// The most dumps, which are repeated while the kernel reports changes.
    private static let dumpLimit = 10

    /// - Parameter all: links with distinct interface indexes.
    public init(_ all: [Link]) {
        self.all = all
        eswitchPorts = all.compactMap { $0.isEswitchPort ? $0.index : nil }
        byIndex = all.count <= Links.searchLimit ? nil : Dictionary(all.enumerated().map { ($1.index, $0) }) { $1 }
    }

    /// Reads all interfaces of the socket's namespace. Link dumps do report interruption, and are then repeated.
    ///
    /// - Throws: ``NetlinkError``.
    public static func snapshot(using socket: inout CommandSocket) throws(NetlinkError) -> Links {
        var attempt = 1
        while true {
            var links: [Link] = []
            do throws(NetlinkError) {
                try socket.dump(LinkGet(index: 0)) { (header, payload) throws(NetlinkError) in
                    guard header.type == .newLink else { return }
                    links.append(try Link(decoding: payload))
                }
                return Links(links)
            } catch {
                guard error.code == .interrupted, attempt < dumpLimit else { throw error }
                attempt += 1
            }
        }
    }

    /// Reads single interfaces by index.
    ///
    /// - Returns: for each index its link, or nil if there is none.
    /// - Throws: ``NetlinkError`` if answers are lost.
    public static func read(
        _ indexes: [Int32], using socket: inout CommandSocket
    ) throws(NetlinkError) -> [Link?] {
        try read(requests: indexes.map { LinkGet(index: $0) }, using: &socket)
    }

    /// Reads single interfaces by name, alternative names included.
    public static func read(
        named names: [String], using socket: inout CommandSocket
    ) throws(NetlinkError) -> [Link?] {
        try read(requests: names.map { LinkGet(index: 0, name: $0) }, using: &socket)
    }

    private static func read(
        requests: [LinkGet], using socket: inout CommandSocket
    ) throws(NetlinkError) -> [Link?] {
        var links = [Link?](repeating: nil, count: requests.count)
        try socket.get(requests) { (index, reply) throws(NetlinkError) in
            switch reply {
            case .success(let (_, payload)):
                links[index] = try Link(decoding: payload)
            case .failure(let error):
                // An unusable name is treated like an unused one.
                guard [.noDevice, .invalid, .some(.range)].contains(error.errno) else {
                    throw error.during("cannot read interface \(requests[index].name ?? "\(requests[index].index)")")
                }
            }
        }
        return links
    }

    /// The link with an interface index.
    public subscript(index: Int32) -> Link? {
        guard let byIndex else { return all.last { $0.index == index } }
        return byIndex[index].map { all[$0] }
    }

    /// The link with a name or an alternative name; no two interfaces of a namespace share one (`netdev_name_in_use`).
    public subscript(name: String) -> Link? {
        guard let byName else { return all.first { $0.isCalled(name) } }
        return byName[name].map { all[$0] }
    }

    /// The same for who asks for many names: the search for each goes through all links.
    package var indexedByName: Links {
        var links = self
        links.byName = Dictionary(
            all.enumerated().flatMap { place, link in ([link.name] + link.alternativeNames).map { ($0, place) } }
        ) { first, _ in first }
        return links
    }

    /// The bridges, sorted by name.
    public var bridges: [Link] {
        all.filter { $0.kind == "bridge" }.sorted { $0.name < $1.name }
    }

    /// The ports of a bridge, in the order of their interface indexes.
    public func ports(of bridge: Int32) -> [Link] {
        all.filter { $0.master == bridge && $0.portKind == "bridge" }.sorted { $0.index < $1.index }
    }
}
