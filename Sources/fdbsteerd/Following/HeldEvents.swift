import QMP

/// What a guest has caused while its events wait: of each kind the last, in the order in which they came.
///
/// A guest that reloads its driver a hundred times a second is where the last of the events says.
struct HeldEvents {
    private(set) var events: [QMPEvent] = []
    /// A frame of the guest came by its primary.
    private(set) var hasFrame = false
    /// All of it.
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    /// The most that are kept: of eleven kinds of events for a few devices each.
    private static let most = 64

    mutating func keep(_ event: QMPEvent) {
        count += 1
        events.removeAll {
            $0.name == event.name && $0.device == event.device && $0.migrationStatus == event.migrationStatus
        }
        events.append(event)
        if events.count > HeldEvents.most { events.removeFirst() }
    }

    mutating func keepFrame() {
        count += 1
        hasFrame = true
    }
}
