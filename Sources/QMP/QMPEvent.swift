public import JSON

/// An event of a QEMU monitor.
public struct QMPEvent: Hashable, Sendable {
    /// An event's name. The type is open, because QEMU has many more events than matter here.
    public struct Name: RawRepresentable, Hashable, Sendable {
        public let rawValue: String

        /// - Parameter rawValue: the name as QEMU writes it.
        public init(rawValue: String) { self.rawValue = rawValue }

        /// The guest's virtio driver accepted the STANDBY feature; QEMU now creates the primary. `device-id` is the standby's.
        public static let failoverNegotiated = Name(rawValue: "FAILOVER_NEGOTIATED")
        /// QEMU asks the guest to give up the primary. This is only the request. `device-id` is the primary's.
        public static let unplugPrimary = Name(rawValue: "UNPLUG_PRIMARY")
        /// A migration's status changed. Sent only with the capability `events`.
        public static let migration = Name(rawValue: "MIGRATION")
        /// A pass over the guest's memory begins.
        public static let migrationPass = Name(rawValue: "MIGRATION_PASS")
        /// The virtual CPUs stopped.
        public static let stop = Name(rawValue: "STOP")
        /// The virtual CPUs run.
        public static let resume = Name(rawValue: "RESUME")
        /// A device is gone for good. Not sent when a failover primary is unplugged for a migration.
        public static let deviceDeleted = Name(rawValue: "DEVICE_DELETED")
        /// The guest refused to give up a device. Not sent for the PCI slots of x86 guests.
        public static let unplugGuestError = Name(rawValue: "DEVICE_UNPLUG_GUEST_ERROR")
        /// The guest changed the receive filter of a virtio NIC. QEMU sends no further one until `query-rx-filter`.
        public static let rxFilterChanged = Name(rawValue: "NIC_RX_FILTER_CHANGED")
        /// The machine shuts down.
        public static let shutdown = Name(rawValue: "SHUTDOWN")
        /// The machine was reset: the guest reboots.
        public static let reset = Name(rawValue: "RESET")

        /// The events on which signals and migrations are based.
        public static let known: [Name] = [
            .failoverNegotiated, .unplugPrimary, .migration, .migrationPass, .stop, .resume, .deviceDeleted,
            .unplugGuestError, .rxFilterChanged, .shutdown, .reset,
        ]
    }

    /// The event's name.
    public let name: Name
    /// The time in nanoseconds since 1970 by QEMU's clock; nil if QEMU did not know it.
    public let time: Int64?
    /// The details; `null` if there are none.
    public let data: JSON

    /// Makes an event from its parts.
    public init(_ name: Name, time: Int64? = nil, data: JSON = .null) {
        self.name = name
        self.time = time
        self.data = data
    }

    /// The id of the device that the event concerns, if any: `device-id`, `device`, or a NIC's `name`.
    public var device: String? { data["device-id"]?.text ?? data["device"]?.text ?? data["name"]?.text }

    /// The status in a MIGRATION event.
    public var migrationStatus: MigrationStatus? {
        name == .migration ? data["status"]?.text.map(MigrationStatus.init(rawValue:)) : nil
    }

    /// QEMU's `{"seconds": S, "microseconds": U}`, in which both are -1 if it has no time.
    static func time(_ stamp: JSON?) -> Int64? {
        guard let seconds = stamp?["seconds"]?.integer, let micros = stamp?["microseconds"]?.integer, seconds >= 0,
            (0..<1_000_000).contains(micros)
        else { return nil }
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let (time, beyond) = whole.addingReportingOverflow(micros * 1000)
        return overflow || beyond ? nil : time
    }
}

/// The status of a migration (`MigrationStatus` in QEMU's qapi/migration.json).
public struct MigrationStatus: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: String

    /// - Parameter rawValue: the status as QEMU writes it.
    public init(rawValue: String) { self.rawValue = rawValue }

    /// No migration was ever started.
    public static let none = MigrationStatus(rawValue: "none")
    /// The migration was accepted.
    public static let setup = MigrationStatus(rawValue: "setup")
    /// QEMU waits for the guest to give up its primaries, without a time limit.
    public static let waitUnplug = MigrationStatus(rawValue: "wait-unplug")
    /// Memory is being copied; the guest has given up its primaries.
    public static let active = MigrationStatus(rawValue: "active")
    /// QEMU waits for `migrate-continue` (capability `pause-before-switchover`).
    public static let preSwitchover = MigrationStatus(rawValue: "pre-switchover")
    /// The devices' state is being copied; the virtual CPUs are stopped.
    public static let device = MigrationStatus(rawValue: "device")
    /// The migration is being cancelled, which takes up to 30 s while the guest is giving up a primary.
    public static let cancelling = MigrationStatus(rawValue: "cancelling")
    /// Cancelled; QEMU plugs the primaries again.
    public static let cancelled = MigrationStatus(rawValue: "cancelled")
    /// Failed; QEMU plugs the primaries again.
    public static let failed = MigrationStatus(rawValue: "failed")
    /// The guest is on the target.
    public static let completed = MigrationStatus(rawValue: "completed")

    /// The guest has given up its primaries, and the migration is under way.
    public var isPastUnplug: Bool {
        self == .active || self == .preSwitchover || self == .device || rawValue.hasPrefix("postcopy")
    }

    /// The guest's processors run on the target while its memory follows, if the migration holds or is resumed; they do not run on the
    /// source again. `postcopy-device` comes before that, when the source can still go on (QEMU's migration_has_failed).
    public var isPostcopy: Bool { rawValue.hasPrefix("postcopy") && rawValue != "postcopy-device" }

    /// A migration is under way.
    public var isUnderWay: Bool { isPastUnplug || [.setup, .waitUnplug, .cancelling].contains(self) }

    public var description: String { rawValue }
}
