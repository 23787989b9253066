package import Switchdev

/// What `prepare` knows of a NIC in legacy mode.
package struct LegacyPreparation {
    package let nic: LegacyNIC
    package let filters: NICFilters
    /// Where the guest is by the filters; nil when they do not say.
    package let side: Side?
    package let notes: [String]

    /// Makes one from its parts.
    package init(nic: LegacyNIC, filters: NICFilters, side: Side?, notes: [String]) {
        self.nic = nic
        self.filters = filters
        self.side = side
        self.notes = notes
    }
}
