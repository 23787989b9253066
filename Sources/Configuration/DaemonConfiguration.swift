package import Policy

/// The content of `/etc/fdbsteer/fdbsteerd.toml`; docs/configuration.md describes every key.
///
/// Durations are in nanoseconds. Without a file the defaults apply.
package struct DaemonConfiguration: Hashable, Sendable {
    /// `[daemon]`.
    package struct Daemon: Hashable, Sendable {
        /// Folder for journal and history; nil for `/run/fdbsteer` and `/var/lib/fdbsteer`.
        package var state: String?
        /// Guests are repaired and redirected; false to say only what would be done.
        package var act = true
        /// Time between two routine checks of every guest, at least a minute.
        package var resyncInterval: Int64 = 300 * second
        /// Size of the notification socket's receive buffer, in bytes.
        package var receiveBuffer = 8 << 20
        /// The most repairs of one guest that are made without waiting; the next ones wait.
        package var repairBurst = 5
        /// The first wait; each further wait is twice as long.
        package var repairBackoffInitial = 1 * second
        /// The longest wait.
        package var repairBackoffLimit = 300 * second
        /// A guest that sends nothing for this long, while its frames come in by the uplink, has left.
        package var departureSilence = 30 * second
    }

    /// `[metrics]`.
    package struct Metrics: Hashable, Sendable {
        /// The address at which they are served; nil if they are not.
        package var listen: ListenAddress? = ListenAddress("127.0.0.1:9923")
        /// The most simultaneous connections.
        package var maxConnections = 64
    }

    /// `[log]`.
    package struct Log: Hashable, Sendable {
        /// The least severe level that is logged.
        package enum Level: String, Hashable, Sendable, CaseIterable {
            case debug, info, notice, warning, error
        }

        /// How lines are written.
        package enum Format: String, Hashable, Sendable, CaseIterable {
            case logfmt, json
        }

        /// The least severe level that is logged.
        package var level = Level.info
        /// How lines are written.
        package var format = Format.logfmt
    }

    /// `[redirection]`.
    package struct Redirection: Hashable, Sendable {
        /// How long to wait for proof from hardware.
        package var proofTimeout = 5 * second
        /// A missing proof is a failure.
        package var requireProof = false
    }

    /// `[bracket]`.
    package struct Bracket: Hashable, Sendable {
        /// Rate of one guest, in frames a second, above which a bracket is refused because all frames go through the CPU; 0 for
        /// no limit.
        package var maxRate = 0
        /// How long a bracket waits for evidence before it raises an alarm.
        package var timeout = 60 * second
    }

    /// `[announce]`.
    package struct Announce: Hashable, Sendable {
        /// How often an address is announced after a move; 0 for never.
        package var count = 3
        /// Time between two announcements.
        package var interval: Int64 = 100_000_000
    }

    /// `[ask]`.
    package struct Ask: Hashable, Sendable {
        /// Guests are asked whether they take their ports' frames.
        package var enabled = true
    }

    /// `[replay]`.
    package struct Replay: Hashable, Sendable {
        /// What guests miss while they migrate is kept and sent again, unless their own table says otherwise.
        package var mode = ReplayMode.off
    }

    /// `[libvirt]`.
    package struct Libvirt: Hashable, Sendable {
        /// The command that prints the monitor events of this host's domains. It runs while a guest has `domain`.
        package var eventsCommand = ["virsh", "--connect", "qemu:///system", "qemu-monitor-event", "--loop"]
    }

    /// `[[guest]]`.
    package struct Guest: Hashable, Sendable {
        /// Whether a guest that lost its primary returns to it.
        package enum Return: String, Hashable, Sendable, CaseIterable {
            /// Only by `fdbsteer switch`.
            case never
            /// As soon as the primary is back in the bridge and the guest uses it.
            case whenBack = "when-back"
        }

        /// The guest interface's name.
        package let id: GuestID
        /// The guest is repaired and redirected; false to say only what would be done.
        package var act = true
        /// Whether the guest returns to a primary that was lost.
        package var returnToPrimary = Return.never
        /// The socket of QEMU's monitor (QMP).
        package var qmp: String?
        /// libvirt's name for the guest, if libvirt's events are used instead of a monitor.
        package var domain: String?
        /// How the guest joins its two NICs.
        package var kind = GuestKind.unknown
        /// The id of the standby NIC in QEMU.
        package var standbyDevice: String?
        /// The id of the primary NIC in QEMU.
        package var primaryDevice: String?
        /// Follow QEMU's events, because QEMU itself plugs and unplugs the primary (failover_pair_id).
        package var follow = false
        /// Take the guest's addresses from its NIC's receive filter.
        package var followRXFilter = false
        /// The most addresses taken from the receive filter.
        package var rxFilterLimit = 64
        /// The guest is asked whether it takes its ports' frames.
        package var ask = true
        /// What it misses while it migrates is kept and sent again; nil: as `[replay]` says.
        package var replay: ReplayMode?
        /// The guest's IP addresses, which are announced after a move, and at which it is asked.
        package var addressesIP: [AnnouncementRequest.Owned] = []
        /// How it is prepared when its ports are there; nil: others prepare it.
        package var preparation: PreparationRequest?

        /// - Parameter id: the guest interface's name.
        package init(id: GuestID) { self.id = id }
    }

    /// `[daemon]`.
    package var daemon = Daemon()
    /// `[metrics]`.
    package var metrics = Metrics()
    /// `[log]`.
    package var log = Log()
    /// `[redirection]`.
    package var redirection = Redirection()
    /// `[bracket]`.
    package var bracket = Bracket()
    /// `[announce]`.
    package var announce = Announce()
    /// `[ask]`.
    package var ask = Ask()
    /// `[replay]`.
    package var replay = Replay()
    /// `[libvirt]`.
    package var libvirt = Libvirt()
    /// `[[guest]]`, in the order of the file; no two have the same id.
    package var guests: [Guest] = []

    /// The defaults.
    package init() {}

    /// The configuration of a guest; nil if it has none.
    package func guest(_ id: GuestID) -> Guest? { guests.first { $0.id == id } }

    /// Whether what a guest misses while it migrates is kept and sent again.
    ///
    /// - Parameter recorded: what `prepare` was told.
    package func replays(_ guest: Guest, recorded: ReplayMode?) -> Bool {
        (guest.replay ?? recorded ?? replay.mode) == .replay
    }
}

private let second: Int64 = 1_000_000_000
