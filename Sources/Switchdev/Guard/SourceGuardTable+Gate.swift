import FDB
public import Netlink

/// Gates in the table of a bridge: ports that let nothing in from some MACs, where their driver cannot lock them, or this kernel
/// cannot (`IFLA_BRPORT_LOCKED`, Linux 5.18).
extension SourceGuardTable {
    /// Drops frames from some MACs at ports from now on, before the bridge learns. What is so already is no error.
    ///
    /// - Throws: ``NetlinkError``; ENOENT where the table has no gates (``install(_:using:)`` makes it).
    public static func shut(
        _ gate: SourceGuard.Gate, onBridge bridge: Int32, using socket: inout CommandSocket
    ) throws(NetlinkError) {
        let table = SourceGuard.table(ofBridge: bridge)
        try perform(add(elements(of: gate), to: GuardSet.shut.name, table), using: &socket)
    }

    /// Drops them no longer. What is so already, or a table that is gone, is no error.
    ///
    /// - Throws: ``NetlinkError``.
    public static func open(
        _ gate: SourceGuard.Gate, onBridge bridge: Int32, using socket: inout CommandSocket
    ) throws(NetlinkError) {
        let table = SourceGuard.table(ofBridge: bridge)
        try remove(elements(of: gate), from: GuardSet.shut.name, table, using: &socket)
    }

    /// From how many of a gate's MACs each of its ports lets nothing in; none without the table, or where it has no rule for gates.
    ///
    /// - Throws: ``NetlinkError`` when answers are lost.
    public static func shut(
        of gate: SourceGuard.Gate, onBridge bridge: Int32, using socket: inout CommandSocket
    ) throws(NetlinkError) -> [Int32: Int] {
        let table = SourceGuard.table(ofBridge: bridge)
        var counts: [Int32: Int] = [:]
        guard try comment(of: hook, in: table, using: &socket)?.hasSuffix(gates) == true else { return counts }
        let pairs = gate.ports.flatMap { port in gate.macs.map { (port, GuardElement(GuardElement.key(port, $0))) } }
        try socket.get(pairs.map { GuardRequest.getElement(table: table, set: GuardSet.shut.name, $0.1) }) {
            (index, reply) throws(NetlinkError) in
            if case .success = reply { counts[pairs[index].0, default: 0] += 1 }
        }
        return counts
    }

    static func elements(of gate: SourceGuard.Gate) -> [GuardElement] {
        gate.ports.flatMap { port in gate.macs.map { GuardElement(GuardElement.key(port, $0)) } }
    }
}
