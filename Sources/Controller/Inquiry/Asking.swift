import FDB
import Netlink
package import Policy
import Switchdev
import System

/// Whether a guest answers questions at all, found while nothing depends on it.
package enum Answering: Hashable, Sendable {
    /// It does, at this IP address.
    case yes(AnnouncementRequest.Owned)
    /// It was asked in vain: its silence shows nothing.
    case no
    /// It was not asked yet, or could not be.
    case unknown

    /// nil: unknown.
    package var isYes: Bool? {
        switch self {
        case .yes: true
        case .no: false
        case .unknown: nil
        }
    }
}

/// What the keeper knows of one guest's answers.
struct Acquaintance {
    var answers = Answering.unknown
    /// IP addresses that were heard of it, the last of them first.
    private(set) var heard: [IPAddress] = []
    /// IP addresses at which it was asked in vain since it last answered.
    var mute: Set<IPAddress> = []
    /// What it was last found to do by each of its ports, and when (CLOCK_MONOTONIC, nanoseconds).
    var found = BySide<(result: InquiryResult, at: Int64)>()

    /// When the guest was last heard to probe its address (RFC 5227; CLOCK_MONOTONIC, nanoseconds).
    var probedAt: Int64?

    private static let mostHeard = 2

    mutating func hear(_ ip: IPAddress) {
        heard = Array(([ip] + heard.filter { $0 != ip }).prefix(Acquaintance.mostHeard))
    }
}

/// Whom the keeper asks, why, and what it waits for.
package struct Asking: ~Copyable {
    /// Why a guest is asked.
    package enum Purpose: Hashable, Sendable {
        /// To know whether it answers at all.
        case acquaintance
        /// A check waits for the result, and is repeated with this cause.
        case check(Watch.Cause)
        /// To know when it takes the port's frames.
        case readiness

        var pace: InquiryPace {
            switch self {
            case .acquaintance: .resting
            case .check: .deciding
            case .readiness: .readiness
            }
        }
    }

    /// Which guests the configuration allows to be asked, and at which addresses.
    package struct Rules: Hashable, Sendable {
        /// Nobody is asked otherwise.
        package var isEnabled = true
        /// Guests that are not asked.
        package var excluded: Set<GuestID> = []
        /// IP addresses of guests that the configuration names; those of their records go before.
        package var ips: [GuestID: [AnnouncementRequest.Owned]] = [:]

        package init() {}

        func allows(_ id: GuestID) -> Bool { isEnabled && !excluded.contains(id) }
    }

    /// A guest that is being asked, or heard.
    final class Running {
        let side: Side
        let purpose: Purpose
        let owned: AnnouncementRequest.Owned?
        var inquirer: Inquirer?
        var hearing: GuestHearing?
        let end: Int64

        init(_ inquirer: consuming Inquirer, _ side: Side, _ purpose: Purpose, _ owned: AnnouncementRequest.Owned) {
            self.inquirer = consume inquirer
            (self.side, self.purpose, self.owned, end) = (side, purpose, owned, .max)
        }

        init(_ hearing: consuming GuestHearing, until end: Int64) {
            self.hearing = consume hearing
            (side, purpose, owned, self.end) = (.standby, .acquaintance, nil, end)
        }

        var descriptor: Int32 { inquirer?.descriptor ?? hearing?.descriptor ?? -1 }
        var due: Int64 { inquirer?.due ?? end }
    }

    package var rules = Rules()
    /// By the rows of the guests.
    var running: [Int64: Running] = [:]
    /// When guests are asked whether they answer at all.
    var restDue: [Int64: Int64] = [:]
    /// The earliest of them, or earlier.
    var nextRest = Int64.max
    /// Ports whose answers are kept from others, with the names that they had then.
    var shielded: [Int32: String] = [:]
    /// Shielded ports of guests that are not watched any more.
    var unused: Set<Int32> = []
    /// What has input when one of those that are running has.
    var events: EventSet

    init() throws(ControllerError) {
        events = try ControllerError.system { () throws(SystemError) in try EventSet() }
    }

    /// So many guests are asked, or heard, at rest at a time: each has two packet sockets, whose filters every frame of its ports
    /// passes.
    static let mostAtRest = 16
    /// How long a guest is heard whose IP address is not known, in nanoseconds: it renews its neighbours once a minute.
    static let hearingTime: Int64 = 60_000_000_000
    /// How long after a guest became known, or came to a side, it is asked, in nanoseconds.
    static let restPause: Int64 = 1_000_000_000
}
