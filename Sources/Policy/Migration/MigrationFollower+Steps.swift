import QMP

/// The steps of which the transitions consist.
extension MigrationFollower {
    // MARK: - Entries

    /// Moves the entries to a side, and closes the bracket if one is open.
    package mutating func settle(at target: Side) {
        pending = nil
        failures = 0
        isDeparting = false
        isOrdered = false
        disarm(.retry)
        disarm(.departure)
        if target == .remote {
            if side != .remote || bracket != nil { actions.append(.becomeRemote) }
        } else if bracket != nil {
            actions.append(.closeBracket(at: target))
        } else if side != target {
            actions.append(.move(to: target))
        }
        bracket = nil
        side = target
        sideBefore = target
    }

    /// Sends frames to both ports, if the guest takes copies and no bracket is open yet.
    package mutating func open(to target: Side) {
        guard configuration.takesCopies else { return }
        // A bracket leads away from the recorded side of the guest.
        let goal: Side = bracket == nil && side == target ? (target == .primary ? .standby : .primary) : target
        if bracket == nil {
            sideBefore = side
            actions.append(.openBracket(to: goal))
        }
        bracket = goal
        side = .standby
    }

    // MARK: - Transitions between the sides

    /// The guest was asked to give up its primary, and may do so at any moment.
    package mutating func leave() {
        guard configuration.hasPrimary, [.primary, .coming, .standby].contains(state) else { return }
        if side == .primary { open(to: .standby) } else if bracket != nil { bracket = .standby }
        state = .leaving
        wasUnplugged = false
        watch(false)
        disarm(.primary)
        arm(.unplug, configuration.unplugLimit)
    }

    /// The guest has given up its primary.
    package mutating func left(to next: State) {
        settle(at: home)
        state = next
        wasUnplugged = true
        disarm(.unplug)
        disarm(.primary)
        calm()
        watch(next == .standby && isNegotiated != false)
    }

    /// The guest gets its primary, and may use it at any moment.
    package mutating func come() {
        guard configuration.hasPrimary else { return rest() }
        open(to: .primary)
        state = .coming
        disarm(.unplug)
        arm(.primary, configuration.primaryLimit)
        watch(true)
    }

    /// The guest uses its primary.
    package mutating func arrivedOnPrimary() {
        settle(at: .primary)
        state = .primary
        disarm(.primary)
        watch(false)
        calm()
    }

    /// The guest is here and cannot use a primary.
    package mutating func rest() {
        settle(at: home)
        state = .standby
        disarm(.unplug)
        disarm(.primary)
        calm()
        watch(isNegotiated != false)
    }

    /// The guest starts to run here.
    package mutating func arrive() {
        settle(at: home)
        actions.append(.announce)
        if state == .gone {
            // QEMU does not plug the primary again after a completed migration.
            rest()
        } else if isNegotiated == false {
            rest()
        } else {
            come()
        }
    }

    /// The guest is on another host, and its entries follow as soon as it is seen there: what goes to the uplink before is lost,
    /// because the fabric still sends it here.
    package mutating func depart() {
        state = .gone
        disarm(.unplug)
        disarm(.primary)
        calm()
        watch(false)
        if isWatchingUplink, !isSeen, bracket == nil, side != .remote {
            isDeparting = true
            arm(.departure, configuration.departureLimit)
        } else {
            leaveForGood()
        }
    }

    /// The entries follow a guest that is on another host.
    package mutating func leaveForGood() {
        if isSeen { actions.append(.sendKept) }
        settle(at: .remote)
        watchUplink(false)
    }

    // MARK: - Helpers

    package mutating func watch(_ isOn: Bool) {
        guard configuration.hasPrimary else { return }
        // Sent again even if the watch is on: it then waits for a frame from now on.
        if isOn || isWatching { actions.append(.watchPrimary(isOn)) }
        isWatching = isOn
    }

    package mutating func watchUplink(_ isOn: Bool) {
        isSeen = false
        if isOn != isWatchingUplink { actions.append(.watchUplink(isOn)) }
        isWatchingUplink = isOn
    }

    package mutating func raise(_ text: String) {
        if alarm != text { actions.append(.alarm(text)) }
        alarm = text
    }

    package mutating func calm() {
        if alarm != nil { actions.append(.calm) }
        alarm = nil
    }

    package mutating func arm(_ timer: Timer, _ nanoseconds: Int64) {
        armed.insert(timer)
        actions.append(.arm(timer, nanoseconds: nanoseconds))
    }

    package mutating func disarm(_ timer: Timer) {
        if armed.remove(timer) != nil { actions.append(.disarm(timer)) }
    }
}
