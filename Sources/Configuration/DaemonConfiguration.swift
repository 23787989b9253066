public import Policy

/// What `/etc/fdbsteer/fdbsteerd.toml` says; docs/configuration.md describes every key.
///
/// Durations are in nanoseconds. A value without a file has the defaults.
public struct DaemonConfiguration: Hashable, Sendable {
    /// `[daemon]`.
    public struct Daemon: Hashable, Sendable {
        /// Folder of journal and history; nil for `/run/fdbsteer` and `/var/lib/fdbsteer`.
        public var state: String?
        /// Between two readings of the whole table without a reason, from a minute on.
        public var resyncInterval: Int64 = 300 * second
        /// Size of the notification socket's receive buffer, in bytes.
        public var receiveBuffer = 8 << 20
        /// Repairs of one guest that are made at once, one after the other; then the next ones wait.
        public var repairBurst = 5
        /// The first wait; each one doubles it.
        public var repairBackoffInitial = 1 * second
        /// The longest wait.
        public var repairBackoffLimit = 300 * second
    }

    /// `[metrics]`.
    public struct Metrics: Hashable, Sendable {
        /// Where they are served; nil for nowhere.
        public var listen: ListenAddress? = ListenAddress("127.0.0.1:9923")
        /// Connections at once.
        public var maxConnections = 64
    }

    /// `[log]`.
    public struct Log: Hashable, Sendable {
        /// The least severe lines that are written.
        public enum Level: String, Hashable, Sendable, CaseIterable {
            case debug, info, notice, warning, error
        }

        /// The least severe lines that are written.
        public var level = Level.info
    }

    /// `[redirection]`.
    public struct Redirection: Hashable, Sendable {
        /// What to do where the switch floods the frames of a guest on its standby to other ports.
        public enum Leak: String, Hashable, Sendable, CaseIterable {
            case refuse, allow
        }

        /// What to do where the switch floods the frames of a guest on its standby to other ports.
        public var leak = Leak.refuse
        /// How long to wait for hardware.
        public var proofTimeout = 5 * second
        /// A missing proof is a failure.
        public var requireProof = false
    }

    /// `[bracket]`.
    public struct Bracket: Hashable, Sendable {
        /// Frames a second of one guest above which a bracket is refused, as all of them go through the CPU; 0 for no limit.
        public var maxRate = 0
        /// How long a bracket waits for evidence before it alarms.
        public var timeout = 60 * second
    }

    /// `[announce]`.
    public struct Announce: Hashable, Sendable {
        /// How often an address is announced after a move; 0 for never.
        public var count = 3
        /// Between two announcements.
        public var interval: Int64 = 100_000_000
    }

    /// `[libvirt]`.
    public struct Libvirt: Hashable, Sendable {
        /// What prints the monitor events of this host's domains; run where a guest names its domain.
        public var eventsCommand = ["virsh", "--connect", "qemu:///system", "qemu-monitor-event", "--loop"]
    }

    /// `[[guest]]`.
    public struct Guest: Hashable, Sendable {
        /// Whether a guest whose primary was lost goes back to it.
        public enum Return: String, Hashable, Sendable, CaseIterable {
            /// By `fdbsteer switch` alone.
            case never
            /// As soon as the primary is back in the bridge and the guest uses it.
            case whenBack = "when-back"
        }

        /// The guest interface's name.
        public let id: GuestID
        /// Whether it goes back to a primary that was lost.
        public var returnToPrimary = Return.never
        /// The socket of QEMU's monitor (QMP).
        public var qmp: String?
        /// libvirt's name of the guest, whose events libvirt tells instead of a monitor.
        public var domain: String?
        /// How the guest joins its two NICs.
        public var kind = GuestKind.unknown
        /// The id of the standby NIC in QEMU.
        public var standbyDevice: String?
        /// The id of the primary NIC in QEMU.
        public var primaryDevice: String?
        /// QEMU plugs and unplugs the primary itself (failover_pair_id): follow its events.
        public var follow = false
        /// Take the guest's addresses from its NIC's receive filter.
        public var followRXFilter = false
        /// Addresses from the receive filter at most.
        public var rxFilterLimit = 64
        /// The guest's IP addresses, to be announced after a move.
        public var addressesIP: [AnnouncementRequest.Owned] = []

        /// - Parameter id: the guest interface's name.
        public init(id: GuestID) { self.id = id }
    }

    /// `[daemon]`.
    public var daemon = Daemon()
    /// `[metrics]`.
    public var metrics = Metrics()
    /// `[log]`.
    public var log = Log()
    /// `[redirection]`.
    public var redirection = Redirection()
    /// `[bracket]`.
    public var bracket = Bracket()
    /// `[announce]`.
    public var announce = Announce()
    /// `[libvirt]`.
    public var libvirt = Libvirt()
    /// `[[guest]]`, in the order of the file; no two have the same id.
    public var guests: [Guest] = []

    /// The defaults.
    public init() {}

    /// What is configured for a guest; nil for nothing.
    public func guest(_ id: GuestID) -> Guest? { guests.first { $0.id == id } }

}

private let second: Int64 = 1_000_000_000
