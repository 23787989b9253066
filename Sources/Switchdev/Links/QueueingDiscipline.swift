import CNetlink
public import Netlink

/// A queueing discipline of an interface (RTM_GETQDISC, net/sched/sch_api.c).
public struct QueueingDiscipline: Hashable, Sendable {
    /// Interface index.
    public let interface: Int32
    /// TCA_KIND: `fq_codel`, `ingress`, `clsact`.
    public let kind: String
    /// Where it is attached (`tcm_parent`).
    public let parent: UInt32

    /// Makes a queueing discipline from its parts.
    public init(interface: Int32, kind: String, parent: UInt32) {
        self.interface = interface
        self.kind = kind
        self.parent = parent
    }

    /// It is attached where a clsact would be: an interface has one such place (`TC_H_INGRESS`, which is `TC_H_CLSACT`).
    public var isAtIngress: Bool { parent == TC_H_INGRESS }

    /// Decodes the payload of an RTM_NEWQDISC message.
    ///
    /// - Throws: ``NetlinkError`` of code `malformed` for bytes that no kernel sends.
    public init(decoding payload: UnsafeRawBufferPointer) throws(NetlinkError) {
        let size = MemoryLayout<tcmsg>.size
        guard payload.count >= size else {
            throw NetlinkError(.malformed, "qdisc message of \(payload.count) bytes where \(size) are the least")
        }
        let fixed = payload.loadUnaligned(as: tcmsg.self)
        var kind = ""
        var attributes = AttributeReader(payload, from: size)
        while let attribute = attributes.next() {
            if attribute.type == Int(TCA_KIND) { kind = attribute.text }
        }
        if attributes.isMalformed {
            throw NetlinkError(.malformed, "qdisc message with an attribute that does not fit")
        }
        self.init(interface: fixed.tcm_ifindex, kind: kind, parent: fixed.tcm_parent)
    }

    /// Reads the queueing disciplines of all interfaces.
    ///
    /// The kernel's dump has no filter. On some kernels a single get is only answered by a notification to everybody
    /// (`qdisc_notify`), so a dump is the way to read without being noticed.
    ///
    /// - Throws: ``NetlinkError``.
    public static func all(using socket: inout CommandSocket) throws(NetlinkError) -> [QueueingDiscipline] {
        var found: [QueueingDiscipline] = []
        try socket.dump(QueueingDisciplineDump()) { (header, payload) throws(NetlinkError) in
            if header.type == .newQueueingDiscipline { found.append(try QueueingDiscipline(decoding: payload)) }
        }
        return found
    }
}

private struct QueueingDisciplineDump: Request {
    var type: MessageType { .getQueueingDiscipline }
    var flags: MessageFlags { [] }

    func encode(into body: inout MessageBody) { body.put(tcmsg()) }
}
