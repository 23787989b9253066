public import Policy

/// The content of `/etc/fdbsteer/fdbsteerd.toml`; docs/configuration.md describes every key.
///
/// Durations are in nanoseconds. Without a file the defaults apply.
public struct DaemonConfiguration: Hashable, Sendable {
    /// `[daemon]`.
    public struct Daemon: Hashable, Sendable {
        /// Folder for journal and history; nil for `/run/fdbsteer` and `/var/lib/fdbsteer`.
        public var state: String?
        /// Time between two routine readings of the whole table, at least a minute.
        public var resyncInterval: Int64 = 300 * second
        /// Size of the notification socket's receive buffer, in bytes.
        public var receiveBuffer = 8 << 20
        /// The most repairs of one guest that are made without waiting; the next ones wait.
        public var repairBurst = 5
        /// The first wait; each further wait is twice as long.
        public var repairBackoffInitial = 1 * second
        /// The longest wait.
        public var repairBackoffLimit = 300 * second
    }

    /// `[metrics]`.
    public struct Metrics: Hashable, Sendable {
        /// The address at which they are served; nil if they are not.
        public var listen: ListenAddress? = ListenAddress("127.0.0.1:9923")
        /// The most simultaneous connections.
        public var maxConnections = 64
    }

    /// `[log]`.
    public struct Log: Hashable, Sendable {
        /// The least severe level that is logged.
        public enum Level: String, Hashable, Sendable, CaseIterable {
            case debug, info, notice, warning, error
        }

        /// The least severe level that is logged.
        public var level = Level.info
    }

    /// `[redirection]`.
    public struct Redirection: Hashable, Sendable {
        /// What to do where the switch would flood the frames of a guest on its standby to other ports.
        public enum Leak: String, Hashable, Sendable, CaseIterable {
            case refuse, allow
        }

        /// What to do where the switch would flood the frames of a guest on its standby to other ports.
        public var leak = Leak.refuse
        /// How long to wait for proof from hardware.
        public var proofTimeout = 5 * second
        /// A missing proof is a failure.
        public var requireProof = false
    }

    /// `[bracket]`.
    public struct Bracket: Hashable, Sendable {
        /// Rate of one guest, in frames a second, above which a bracket is refused because all frames go through the CPU; 0 for
        /// no limit.
        public var maxRate = 0
        /// How long a bracket waits for evidence before it raises an alarm.
        public var timeout = 60 * second
    }

    /// `[announce]`.
    public struct Announce: Hashable, Sendable {
        /// How often an address is announced after a move; 0 for never.
        public var count = 3
        /// Time between two announcements.
        public var interval: Int64 = 100_000_000
    }

    /// `[libvirt]`.
    public struct Libvirt: Hashable, Sendable {
        /// The command that prints the monitor events of this host's domains. It runs while a guest has `domain`.
        public var eventsCommand = ["virsh", "--connect", "qemu:///system", "qemu-monitor-event", "--loop"]
    }

    /// `[[guest]]`.
    public struct Guest: Hashable, Sendable {
        /// Whether a guest that lost its primary returns to it.
        public enum Return: String, Hashable, Sendable, CaseIterable {
            /// Only by `fdbsteer switch`.
            case never
            /// As soon as the primary is back in the bridge and the guest uses it.
            case whenBack = "when-back"
        }

        /// The guest interface's name.
        public let id: GuestID
        /// Whether the guest returns to a primary that was lost.
        public var returnToPrimary = Return.never
        /// The socket of QEMU's monitor (QMP).
        public var qmp: String?
        /// libvirt's name for the guest, if libvirt's events are used instead of a monitor.
        public var domain: String?
        /// How the guest joins its two NICs.
        public var kind = GuestKind.unknown
        /// The id of the standby NIC in QEMU.
        public var standbyDevice: String?
        /// The id of the primary NIC in QEMU.
        public var primaryDevice: String?
        /// Follow QEMU's events, because QEMU itself plugs and unplugs the primary (failover_pair_id).
        public var follow = false
        /// Take the guest's addresses from its NIC's receive filter.
        public var followRXFilter = false
        /// The most addresses taken from the receive filter.
        public var rxFilterLimit = 64
        /// The guest's IP addresses, which are announced after a move.
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

    /// The configuration of a guest; nil if it has none.
    public func guest(_ id: GuestID) -> Guest? { guests.first { $0.id == id } }

}

private let second: Int64 = 1_000_000_000
