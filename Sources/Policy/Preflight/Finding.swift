/// A reason why a redirection would lose, leak or blackhole frames, found before anything is changed.
public struct Finding: Hashable, Sendable, Encodable {
    /// What becomes of frames when nothing is done about it.
    public enum Severity: String, Hashable, Sendable, Encodable, CaseIterable {
        /// The redirection is refused, or every frame is lost.
        case blocks
        /// Some frames are lost.
        case loses
        /// Some frames reach who should not get them.
        case leaks
        /// Nothing is lost, but CPU, or a way of moving or of proving it.
        case costs
        /// To be known.
        case note

        /// It makes `preflight` fail.
        public var isFailure: Bool { self == .blocks || self == .loses || self == .leaks }
    }

    /// The stable word for the reason; docs/preflight.md says of each how it was shown to matter.
    public enum Code: String, Hashable, Sendable, Encodable, CaseIterable {
        // What must be there.
        case noBridge = "no-bridge"
        case bridgeDown = "bridge-down"
        case noInterface = "no-interface"
        case macvlan
        case otherMaster = "other-master"
        case notAPort = "not-a-port"
        case samePort = "same-port"
        case portDown = "port-down"
        case tapWithoutReader = "tap-without-reader"
        case noCarrier = "no-carrier"
        case notForwarding = "not-forwarding"
        // What the ports of a guest let through.
        case mtuSmaller = "mtu-smaller"
        case uplinkMTUSmaller = "uplink-mtu-smaller"
        case unicastFlood = "unicast-flood"
        case multicastFlood = "multicast-flood"
        case broadcastFlood = "broadcast-flood"
        case isolated
        case locked
        case sourceCheckMissing = "source-check-missing"
        case neighbourSuppression = "neigh-suppress"
        case hairpin
        case bpduGuard = "bpdu-guard"
        case learningOn = "learning-on"
        case sharedPort = "shared-port"
        case offloadFeatures = "offload-features"
        case ingressQdisc = "ingress-qdisc"
        case clsactQdisc = "clsact-qdisc"
        // Addresses.
        case ownMAC = "own-mac"
        case localEntry = "local-entry"
        case stickyEntry = "sticky-entry"
        case otherGuest = "other-guest"
        case sentinelMAC = "sentinel-mac"
        case otherVLAN = "entry-on-other-vlan"
        case otherBridge = "entry-on-other-bridge"
        case unknownSide = "unknown-side"
        // VLANs.
        case vlanNotFiltered = "vlan-not-filtered"
        case vlanMissing = "vlan-missing"
        case vlanMembership = "vlan-membership"
        case vlanTagging = "vlan-tagging"
        case pvidDiffers = "pvid-differs"
        case vlanTwins = "vlan-twins"
        case defaultPVID = "default-pvid"
        // Switches.
        case ageingZero = "ageing-zero"
        case floodOnMiss = "flood-on-miss"
        case slowPath = "slow-path"
        case unknownMiss = "unknown-miss"
        case namespaceNotInitial = "namespace-not-initial"
        case flagsRefused = "flags-refused"
        case flagsWithoutEffect = "flags-without-effect"
        case severalBridges = "several-bridges"
        case noOffloadReport = "no-offload-report"
        case floodRuleShared = "flood-rule-shared"
        case legacyEswitch = "legacy-eswitch"
    }

    /// A value that was read.
    public struct Evidence: Hashable, Sendable, Encodable {
        /// What it is a value of: `tap0 mtu`.
        public let what: String
        /// The value.
        public let value: String
    }

    /// The reason's word.
    public let code: Code
    /// What becomes of frames.
    public let severity: Severity
    /// The port, bridge or address concerned.
    public let subject: String
    /// What is so, and what follows from it.
    public let message: String
    /// The values that say so.
    public let evidence: [Evidence]
    /// A command, or what else to do.
    public let remedy: String?

    package init(
        _ code: Code, _ severity: Severity, _ subject: String, _ message: String,
        evidence: KeyValuePairs<String, String> = [:], remedy: String? = nil
    ) {
        self.code = code
        self.severity = severity
        self.subject = subject
        self.message = message
        self.evidence = evidence.map { Evidence(what: $0.key, value: $0.value) }
        self.remedy = remedy
    }

    /// One line: `loses mtu-smaller tap0: ...`.
    public var headline: String { "\(severity.rawValue) \(code.rawValue) \(subject): \(message)" }

    /// For drivers whose hardware is not here.
    package static let fromSource = "from the driver's source, not reproduced here"
}

/// What `preflight` found.
public struct PreflightReport: Hashable, Sendable, Encodable {
    /// The guest's name, when it is a prepared one.
    public let guest: String?
    /// The bridge's name.
    public let bridge: String
    /// Nothing that blocks, loses or leaks, but for what was waived.
    public let ok: Bool
    /// The worst first.
    public let findings: [Finding]
    /// Findings that the caller accepts.
    public let waived: [Finding]
    /// What could not be read, and why.
    public let unseen: [String]

    package init(
        guest: String?, bridge: String, findings: [Finding], waiving waived: Set<Finding.Code>, unseen: [String]
    ) {
        self.guest = guest
        self.bridge = bridge
        self.findings = findings.filter { !waived.contains($0.code) }
        self.waived = findings.filter { waived.contains($0.code) }
        self.unseen = unseen
        ok = !self.findings.contains(where: \.severity.isFailure)
    }

    /// The process's exit code.
    public var exitCode: Int32 { ok ? 0 : ControllerError.Code.precondition.rawValue }
}
