/// A MAC that fdbsteer adds for a moment to learn whether hardware has caught up, and then removes.
///
/// It is locally administered (IEEE 802) and has its own prefix, so one that a crash left behind is recognised. The rest
/// is random, so a driver's late answer to an earlier sentinel is not taken for an answer to this one.
public enum Sentinel {
    /// `02:fd:b5`.
    private static let prefix: UInt64 = 0x02_fdb5 << 24

    /// Makes a new sentinel address.
    public static func make(vlan: VLANID?) -> Address? {
        try? Address(mac: MACAddress(value: prefix | UInt64.random(in: 0..<1 << 24)), vlan: vlan)
    }

    /// Whether a MAC has the prefix; no guest may have one.
    public static func isSentinel(_ mac: MACAddress) -> Bool { mac.value >> 24 == prefix >> 24 }
}
