/// A MAC that fdbsteer makes for a moment to learn whether hardware has caught up, and removes again.
///
/// Locally administered (IEEE 802), with a prefix of its own, so that one left behind by a crash is recognised. The rest
/// is random: a driver's late answer to an earlier sentinel must not pass for one to this.
public enum Sentinel {
    /// `02:fd:b5`.
    private static let prefix: UInt64 = 0x02_fdb5 << 24

    /// A new address.
    public static func make(vlan: VLANID?) -> Address? {
        try? Address(mac: MACAddress(value: prefix | UInt64.random(in: 0..<1 << 24)), vlan: vlan)
    }

    /// Whether a MAC has the prefix; no guest may have such a one.
    public static func isSentinel(_ mac: MACAddress) -> Bool { mac.value >> 24 == prefix >> 24 }
}
