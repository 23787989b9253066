import CNetlink
public import Netlink

/// A message about the multicast database of one bridge: a part of a dump, or a notification.
struct GroupMessage {
    /// Interface index of the bridge (`struct br_port_msg`).
    let bridge: Int32
    private(set) var entries: [GroupEntry] = []
    private(set) var routers: [RouterPort] = []

    /// Decodes the payload of an RTM_NEWMDB, RTM_DELMDB or RTM_GETMDB message: MDBA_MDB > MDBA_MDB_ENTRY >
    /// MDBA_MDB_ENTRY_INFO, and MDBA_ROUTER > MDBA_ROUTER_PORT.
    ///
    /// - Throws: ``NetlinkError`` of code `malformed` for bytes that no kernel sends.
    init(decoding payload: UnsafeRawBufferPointer) throws(NetlinkError) {
        bridge = try GroupMessage.bridge(of: payload)
        var parts = AttributeReader(payload, from: MemoryLayout<br_port_msg>.size)
        while let part = parts.next() {
            guard part.type == Int(MDBA_MDB) || part.type == Int(MDBA_ROUTER) else { continue }
            var inner = part.nested
            while let item = inner.next() {
                if part.type == Int(MDBA_MDB), item.type == Int(MDBA_MDB_ENTRY) {
                    try append(item.nested)
                } else if part.type == Int(MDBA_ROUTER), item.type == Int(MDBA_ROUTER_PORT) {
                    routers.append(try RouterPort(decoding: item.bytes))
                }
            }
            try GroupMessage.check(inner)
        }
        try GroupMessage.check(parts)
    }

    /// The interface index of the bridge that a message is about.
    ///
    /// - Throws: ``NetlinkError`` of code `malformed` for bytes that no kernel sends.
    static func bridge(of payload: UnsafeRawBufferPointer) throws(NetlinkError) -> Int32 {
        let size = MemoryLayout<br_port_msg>.size
        guard payload.count >= size else {
            throw NetlinkError(.malformed, "group message of \(payload.count) bytes where \(size) are the least")
        }
        return Int32(truncatingIfNeeded: payload.loadUnaligned(as: br_port_msg.self).ifindex)
    }

    private mutating func append(_ list: AttributeReader) throws(NetlinkError) {
        var list = list
        while let info = list.next() {
            guard info.type == Int(MDBA_MDB_ENTRY_INFO) else { continue }
            if let entry = try GroupEntry(decoding: info.bytes, bridge: bridge) { entries.append(entry) }
        }
        try GroupMessage.check(list)
    }

    private static func check(_ reader: AttributeReader) throws(NetlinkError) {
        if reader.isMalformed {
            throw NetlinkError(.malformed, "group message with an attribute that does not fit")
        }
    }
}

/// One change of a bridge's multicast database, as RTNLGRP_MDB (``MulticastGroup/mdb``) announces it.
public struct GroupChange: Hashable, Sendable {
    /// What changed.
    public enum Subject: Hashable, Sendable {
        /// A membership after the change, or before it if the change is a removal. Kernels also announce changes of flags
        /// and source lists, but not that a report refreshed a timer.
        case entry(GroupEntry)
        /// A port became a router port or is no longer one; index 0 is the bridge itself (`br_rtr_notify`).
        case router(RouterPort)
    }

    /// Interface index of the bridge.
    public let bridge: Int32
    /// What changed.
    public let subject: Subject
    /// RTM_DELMDB instead of RTM_NEWMDB.
    public let isRemoval: Bool

    /// Decodes one notification; empty if it is not a change of a multicast database.
    ///
    /// - Throws: ``NetlinkError`` of code `malformed` for bytes that no kernel sends.
    public static func changes(
        _ header: MessageHeader, _ payload: UnsafeRawBufferPointer
    ) throws(NetlinkError) -> [GroupChange] {
        guard header.type == .newGroup || header.type == .deleteGroup else { return [] }
        let message = try GroupMessage(decoding: payload)
        let subjects = message.entries.map(Subject.entry) + message.routers.map(Subject.router)
        return subjects.map {
            GroupChange(bridge: message.bridge, subject: $0, isRemoval: header.type == .deleteGroup)
        }
    }
}
