import Exposition
import Policy
import Records
import Switchdev

extension StoredVerdict {
    /// The metrics of verdicts about distinct NICs: 1 for what is so.
    static func families(_ verdicts: [StoredVerdict]) -> [MetricFamily] {
        let kind: [LabelName] = ["driver", "pci_id", "firmware", "eswitch_mode"]
        var usable = MetricFamily(
            "fdbsteer_nic_usable_for_failover", .gauge,
            help: "Whether NICs of a kind were found usable for failover, by verdict.", labels: kind + ["verdict"])
        var findings = MetricFamily(
            "fdbsteer_nic_mac_filter", .gauge, help: "Findings of the MAC filter probe about NICs of a kind.",
            labels: kind + ["finding"])
        for stored in verdicts {
            let (nic, verdict) = (stored.nic, stored.verdict)
            for usability in [MACFilterVerdict.Usability.yes, .withCare, .no] {
                usable.set(
                    verdict.usableForFailover == usability ? 1 : 0, nic.driver, nic.pciID, nic.firmware,
                    nic.eswitchMode, usability.rawValue)
            }
            let known: [(String, Bool?)] = [
                ("early_filter", verdict.earlyFilter), ("stale_filter", verdict.staleFilter),
                ("duplicates", verdict.duplicates), ("loopback_blackhole", verdict.loopbackBlackhole),
            ]
            for case (let name, let value?) in known {
                findings.set(value ? 1 : 0, nic.driver, nic.pciID, nic.firmware, nic.eswitchMode, name)
            }
        }
        return [usable, findings]
    }
}
