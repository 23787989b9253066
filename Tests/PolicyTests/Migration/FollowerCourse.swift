import JSON
import Policy
import QMP
import Testing

/// A follower that processes one input after the other.
struct FollowerCourse {
    var follower: MigrationFollower
    static let minutes: Int64 = 60_000_000_000

    init(
        _ side: Side, bracket: Side? = nil, isOrdered: Bool = false, takesCopies: Bool = true,
        status: MigrationStatus = .none,
        runState: String = "running", ids: Bool = true
    ) {
        follower = MigrationFollower(
            .init(
                standbyDevice: ids ? "net1" : nil, primaryDevice: ids ? "prim" : nil, takesCopies: takesCopies),
            side: side, bracket: bracket, isOrdered: isOrdered)
        begun = follower.handle(.connected(QMPSituation(runState: runState, migration: status)))
    }

    /// The actions after the first connection.
    var begun: [MigrationFollower.Action] = []

    /// Sends an event and returns its effects on frames: entries, copies and announcements.
    @discardableResult
    mutating func event(_ name: QMPEvent.Name, device: String? = nil) -> [MigrationFollower.Action] {
        frames(.event(QMPEvent(name, data: device.map { .object([.init("device-id", .string($0))]) } ?? .null)))
    }

    /// Sends the status of a migration.
    @discardableResult
    mutating func migration(_ statuses: MigrationStatus...) -> [MigrationFollower.Action] {
        statuses.flatMap { status in
            frames(.event(QMPEvent(.migration, data: .object([.init("status", .string(status.rawValue))]))))
        }
    }

    @discardableResult
    mutating func connected(_ runState: String, _ status: MigrationStatus = .none) -> [MigrationFollower.Action] {
        frames(.connected(QMPSituation(runState: runState, migration: status)))
    }

    @discardableResult
    mutating func frames(_ input: MigrationFollower.Input) -> [MigrationFollower.Action] {
        follower.handle(input).filter {
            switch $0 {
            case .openBracket, .closeBracket, .move, .becomeRemote, .announce: true
            default: false
            }
        }
    }

    /// All actions after an input.
    mutating func all(_ input: MigrationFollower.Input) -> [MigrationFollower.Action] { follower.handle(input) }

    var state: MigrationFollower.State { follower.state }
    var side: Side { follower.side }
    var bracket: Side? { follower.bracket }
    var alarm: String? { follower.alarm }
}
