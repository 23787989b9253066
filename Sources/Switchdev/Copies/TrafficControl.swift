import CNetlink
public import Netlink

/// A message to the kernel's traffic control (net/sched/sch_api.c, net/sched/cls_api.c).
public enum TrafficControlRequest: Request, Hashable, Sendable {
    /// Makes a clsact; EEXIST if something is attached in its place.
    case addClsact(interface: Int32)
    /// Removes a clsact with everything attached to it.
    case deleteClsact(interface: Int32)
    /// Makes a copy's filter, or replaces it completely, including its counters.
    case setCopy(CopySpecification)
    /// Removes the filter of a copy.
    case deleteCopy(interface: Int32, number: UInt32)
    /// Lists the filters at one hook of a clsact.
    case filters(interface: Int32, egress: Bool)

    /// The preference among other programs' filters on the port: before those that `tc` numbers by itself (from 49,152
    /// downwards).
    public static let preference: UInt32 = 253
    /// The beginning of the action's cookie, which marks the filter as ours; the copy's number follows.
    static let mark = Array("fdbsteer".utf8)

    public var type: MessageType {
        switch self {
        case .addClsact: .newQueueingDiscipline
        case .deleteClsact: .deleteQueueingDiscipline
        case .setCopy: .newFilter
        case .deleteCopy: .deleteFilter
        case .filters: .getFilter
        }
    }

    public var flags: MessageFlags {
        switch self {
        case .addClsact: [.create, .exclusive]
        case .setCopy: [.create]
        default: []
        }
    }

    private static var egress: UInt32 { hook(UInt32(CN_CLSACT_MINOR_EGRESS)) }
    private static func hook(_ minor: UInt32) -> UInt32 { (cn_clsact & 0xffff_0000) | minor }
    /// Priority and protocol combined (`TC_H_MAKE`): every protocol, in network byte order.
    private static var information: UInt32 { preference << 16 | UInt32(UInt16(ETH_P_ALL).bigEndian) }

    public func encode(into body: inout MessageBody) {
        var fixed = tcmsg()
        switch self {
        case .addClsact(let interface), .deleteClsact(let interface):
            fixed.tcm_ifindex = interface
            fixed.tcm_parent = cn_clsact
            fixed.tcm_handle = cn_clsact & 0xffff_0000
            body.put(fixed)
            body.put(Int(TCA_KIND), text: "clsact")
        case .setCopy(let specification):
            fixed.tcm_ifindex = specification.source
            fixed.tcm_parent = Self.egress
            fixed.tcm_handle = specification.number
            fixed.tcm_info = Self.information
            body.put(fixed)
            body.put(Int(TCA_KIND), text: "bpf")
            body.nest(Int(TCA_OPTIONS)) { Self.encode(specification, into: &$0) }
        case .deleteCopy(let interface, let number):
            fixed.tcm_ifindex = interface
            fixed.tcm_parent = Self.egress
            fixed.tcm_handle = number
            fixed.tcm_info = Self.information
            body.put(fixed)
            body.put(Int(TCA_KIND), text: "bpf")
        case .filters(let interface, let egress):
            fixed.tcm_ifindex = interface
            fixed.tcm_parent = egress ? Self.egress : Self.hook(UInt32(TC_H_MIN_INGRESS))
            body.put(fixed)
        }
    }

    private static func encode(_ specification: CopySpecification, into options: inout MessageBody) {
        let program = CopyProgram(specification)
        options.nest(Int(TCA_BPF_ACT)) { actions in
            // The first action. "continue" lets the port's other filters see the frame as if this one did not exist.
            actions.nest(1) { action in
                action.put(Int(TCA_ACT_KIND), text: "mirred")
                action.nest(Int(TCA_ACT_OPTIONS)) { mirred in
                    var parameters = tc_mirred()
                    parameters.action = TC_ACT_UNSPEC
                    parameters.eaction = TCA_EGRESS_MIRROR
                    parameters.ifindex = UInt32(bitPattern: specification.target)
                    withUnsafeBytes(of: parameters) { mirred.put(Int(TCA_MIRRED_PARMS), bytes: $0) }
                }
                cookie(specification.number).withUnsafeBytes { action.put(Int(TCA_ACT_COOKIE), bytes: $0) }
            }
        }
        options.put(Int(TCA_BPF_OPS_LEN), UInt16(program.instructions.count))
        program.bytes.withUnsafeBytes { options.put(Int(TCA_BPF_OPS), bytes: $0) }
        // Only frames that software forwards are copied, so no driver needs to be asked.
        options.put(Int(TCA_BPF_FLAGS_GEN), UInt32(TCA_CLS_FLAGS_SKIP_HW))
    }

    static func cookie(_ number: UInt32) -> [UInt8] {
        mark + withUnsafeBytes(of: number.bigEndian) { Array($0) }
    }
}

/// A filter of a clsact, with the fields that matter for copies.
public struct TrafficFilter: Hashable, Sendable {
    /// TCA_KIND.
    public let kind: String
    /// Filters with a smaller number run first (the upper half of `tcm_info`).
    public let preference: UInt32
    /// `tcm_handle`.
    public let handle: UInt32
    /// The number of the copy that it makes; nil for a foreign filter.
    public let copy: UInt32?
    /// Interface index of the port that the first action copies to.
    public let target: Int32?
    /// The bytes of its classic BPF program.
    let program: [UInt8]
    /// Frames that the first action saw.
    public let frames: UInt64
    /// Bytes in these frames.
    public let bytes: UInt64
    /// Frames that the first action could not pass on.
    public let failed: UInt64

    /// Decodes the payload of an RTM_NEWTFILTER message.
    ///
    /// - Returns: nil for a message about a priority as a whole, which has no handle.
    /// - Throws: ``NetlinkError`` of code `malformed` for bytes that no kernel sends.
    public init?(decoding payload: UnsafeRawBufferPointer) throws(NetlinkError) {
        let size = MemoryLayout<tcmsg>.size
        guard payload.count >= size else {
            throw NetlinkError(.malformed, "filter message of \(payload.count) bytes where \(size) are the least")
        }
        let fixed = payload.loadUnaligned(as: tcmsg.self)
        guard fixed.tcm_handle != 0 else { return nil }
        var kind = ""
        var action = Action()
        var program: [UInt8] = []
        var attributes = AttributeReader(payload, from: size)
        while let attribute = attributes.next() {
            if attribute.type == Int(TCA_KIND) { kind = attribute.text }
            guard attribute.type == Int(TCA_OPTIONS), kind == "bpf" else { continue }
            for option in attribute.nested {
                if option.type == Int(TCA_BPF_OPS) { program = Array(option.bytes) }
                guard option.type == Int(TCA_BPF_ACT) else { continue }
                for first in option.nested.prefix(1) { action.read(first.nested) }
            }
        }
        if attributes.isMalformed {
            throw NetlinkError(.malformed, "filter message with an attribute that does not fit")
        }
        self.kind = kind
        preference = fixed.tcm_info >> 16
        handle = fixed.tcm_handle
        let isOurs =
            preference == TrafficControlRequest.preference && action.kind == "mirred"
            && action.cookie == TrafficControlRequest.cookie(handle)
        copy = isOurs ? handle : nil
        target = action.target
        self.program = program
        frames = action.frames
        bytes = action.bytes
        failed = action.failed
    }

    /// Whether the kernel would show a copy of this specification in this way.
    func makes(_ specification: CopySpecification) -> Bool {
        copy == specification.number && target == specification.target
            && program == CopyProgram(specification).bytes
    }

    private struct Action {
        var kind = ""
        var cookie: [UInt8] = []
        var target: Int32?
        var frames: UInt64 = 0
        var bytes: UInt64 = 0
        var failed: UInt64 = 0

        mutating func read(_ attributes: AttributeReader) {
            for attribute in attributes {
                switch attribute.type {
                case Int(TCA_ACT_KIND): kind = attribute.text
                case Int(TCA_ACT_COOKIE): cookie = Array(attribute.bytes)
                case Int(TCA_ACT_OPTIONS):
                    for option in attribute.nested where option.type == Int(TCA_MIRRED_PARMS) {
                        guard option.bytes.count >= MemoryLayout<tc_mirred>.size else { continue }
                        let parameters = option.bytes.loadUnaligned(as: tc_mirred.self)
                        if parameters.eaction == TCA_EGRESS_MIRROR {
                            target = Int32(bitPattern: parameters.ifindex)
                        }
                    }
                case Int(TCA_ACT_STATS): readStatistics(attribute.nested)
                default: break
                }
            }
        }

        private mutating func readStatistics(_ attributes: AttributeReader) {
            var low: UInt64 = 0
            var high: UInt64?
            for attribute in attributes {
                switch attribute.type {
                case Int(TCA_STATS_BASIC):
                    // struct gnet_stats_basic: bytes, then 32 bits of frames.
                    guard attribute.bytes.count >= 12 else { continue }
                    bytes = attribute.bytes.loadUnaligned(as: UInt64.self)
                    low = UInt64(attribute.bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
                case Int(TCA_STATS_PKT64): high = attribute.integer(as: UInt64.self)
                case Int(TCA_STATS_QUEUE):
                    // struct gnet_stats_queue: qlen, backlog, drops, requeues, overlimits; mirred counts there.
                    guard attribute.bytes.count >= 20 else { continue }
                    failed = UInt64(attribute.bytes.loadUnaligned(fromByteOffset: 16, as: UInt32.self))
                default: break
                }
            }
            frames = high ?? low
        }
    }
}
