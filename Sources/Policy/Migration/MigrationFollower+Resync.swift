public import QMP

/// The conclusions from a new connection to the monitor: events may have been missed.
extension MigrationFollower {
    package mutating func resynchronise(_ situation: QMPSituation) {
        isRunning = situation.isRunning
        isPostcopy = situation.migration.isPostcopy
        if situation.migration.isUnderWay { isOrdered = false }
        hasShutDown = false
        // In post-copy the guest runs on the target alone.
        if state == .unknown, bracket == nil, isPostcopy, isRunning { isIncoming = true }
        if situation.awaitsGuest { return awaitGuest(situation) }
        if situation.guestHasLeft {
            if state != .gone { depart() }
            return
        }
        if situation.runState == "prelaunch" {
            // The guest has not run yet, and any earlier guest has ended.
            isNegotiated = false
            if state.isHere { rest() }
        }
        switch state {
        case .unknown: begin(isIncoming ? .none : situation.migration)
        case .awaited, .gone: if isRunning { arrive() }
        case .primary where !isIncoming:
            leaveIfDue(situation.migration)
        case .primary: break
        case .standby, .coming:
            if situation.migration == .waitUnplug { leave() }
            if !isIncoming, situation.migration.isPastUnplug { migration(situation.migration) }
        case .leaving:
            if situation.migration.isPastUnplug {
                left(to: .migrating)
            } else if !isOrdered, !situation.migration.isUnderWay {
                cameBack()
            }
        case .migrating:
            if situation.migration.isUnderWay { return }
            // The guest runs here although the migration completed: someone resumed it here.
            if situation.migration == .completed { rest() } else { cameBack() }
        }
    }

    private mutating func awaitGuest(_ situation: QMPSituation) {
        if side != .remote || bracket != nil { settle(at: .remote) }
        // Nothing can have been negotiated before the guest's state is loaded.
        let isLoading = situation.migration != .none && situation.migration != .setup
        if state != .awaited || isNegotiated != true { isNegotiated = isLoading ? nil : false }
        state = .awaited
        isIncoming = true
        calm()
        watch(false)
    }

    /// The first connection: the entries show what was known before.
    private mutating func begin(_ status: MigrationStatus) {
        if side == .remote, bracket == nil {
            state = .awaited
            if isRunning { arrive() }
            return
        }
        if bracket == .standby, isOrdered || status.isUnderWay {
            // A guest that is to lose its primary still sends by it: that shows nothing.
            state = .leaving
            if status.isPastUnplug { left(to: .migrating) } else { arm(.unplug, configuration.unplugLimit) }
        } else if bracket != nil {
            come()
        } else if side == .primary {
            state = .primary
            leaveIfDue(status)
        } else {
            state = .standby
            watch(true)
            if status == .waitUnplug { leave() }
            if status.isPastUnplug {
                migration(status)
                wasUnplugged = true
            }
        }
    }

    /// The guest is on its primary, and the request to give it up may have been missed.
    private mutating func leaveIfDue(_ status: MigrationStatus) {
        // The guest has probably given up the primary, but that is not certain: frames go to both ports until the migration
        // ends.
        if status == .waitUnplug || status.isPastUnplug { leave() }
        if status.isPastUnplug, !configuration.takesCopies { left(to: .migrating) }
    }
}

extension MigrationFollower {
    /// The situation that is assumed from the entries if events are received but nothing can be queried. Later events show
    /// what was missed; until then frames keep their path.
    public var presumed: QMPSituation {
        // Whether the incoming guest has negotiated is unknown.
        if side == .remote, bracket == nil { return QMPSituation(runState: "inmigrate", migration: .active) }
        return QMPSituation(runState: "running", migration: bracket == .standby ? .waitUnplug : .none)
    }
}
