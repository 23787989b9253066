import JSON
package import QMP

/// The change that each input causes.
extension MigrationFollower {
    // MARK: - QEMU's events

    package mutating func take(_ event: QMPEvent) {
        switch event.name {
        case .failoverNegotiated where matches(event, configuration.standbyDevice): negotiated()
        case .unplugPrimary where matches(event, configuration.primaryDevice): leave()
        case .migration:
            if let status = event.migrationStatus { migration(status) }
        case .stop:
            isRunning = false
            if state == .migrating { watchUplink(true) }
            departIfPostcopy()
        case .resume:
            isRunning = true
            watchUplink(false)
            if state == .awaited || state == .gone { arrive() }
        case .reset: reset()
        case .shutdown: hasShutDown = true
        case .deviceDeleted where isPrimary(event): deleted()
        case .unplugGuestError where matches(event, configuration.primaryDevice) && state == .leaving:
            raise("the guest refused to give up its primary; \(whereFramesGo)")
        default: break
        }
    }

    private func matches(_ event: QMPEvent, _ device: String?) -> Bool { device == nil || event.device == device }

    /// DEVICE_DELETED also reports disks, so it says nothing if the id of the primary is not configured.
    private func isPrimary(_ event: QMPEvent) -> Bool {
        guard let primary = configuration.primaryDevice else { return false }
        return event.device == primary || event.data["path"]?.text == "/machine/peripheral/\(primary)"
    }

    private mutating func negotiated() {
        isNegotiated = true
        switch state {
        case .standby: come()
        // The device's state is being loaded: the guest is stopped on the other host and will run here next. From now on its
        // frames wait in the queue of its standby.
        case .awaited where isIncoming && side == .remote:
            settle(at: home)
            actions.append(.announce)
        // The guest's driver was reloaded, so the guest may be without its primary for a while. Without copies it gains
        // nothing to leave a primary that may be in use.
        case .primary where configuration.takesCopies: come()
        // Its primary was taken away unheard.
        case .leaving where isOrdered: come()
        default: break
        }
    }

    package mutating func migration(_ status: MigrationStatus) {
        wasCalledOff = status == .cancelled || status == .failed
        isOrdered = false
        isPostcopy = status.isPostcopy
        switch status {
        case .waitUnplug:
            leave()
        case .completed:
            // When a migration completes, the virtual CPUs run on the target and not on the source.
            if isIncoming {
                isIncoming = false
            } else if state.isHere, !isRunning {
                depart()
            } else if state == .migrating {
                rest()
            }
        case .cancelled, .failed:
            if isIncoming {
                isIncoming = state == .awaited
                if isIncoming { settle(at: .remote) }
            } else {
                cameBack()
            }
        case _ where status.isPastUnplug && !isIncoming:
            pastUnplug()
            departIfPostcopy()
        default: break
        }
    }

    /// From post-copy's beginning on the guest runs on the target, though the migration completes only when the last page has
    /// followed. QEMU reports that and STOP in either order.
    package mutating func departIfPostcopy() {
        if isPostcopy, !isIncoming, !isRunning, state.isHere { depart() }
    }

    private mutating func pastUnplug() {
        switch state {
        case .leaving:
            left(to: .migrating)
        case .standby, .coming:
            // No primary was taken away because QEMU had plugged none.
            state = .migrating
            wasUnplugged = bracket != nil
            disarm(.primary)
            watch(false)
        case .primary:
            raise("QEMU migrates the guest without having taken its primary away; \(whereFramesGo)")
        default: break
        }
    }

    /// A migration to another host ended, and the guest runs here.
    package mutating func cameBack() {
        watchUplink(false)
        switch state {
        case .leaving:
            // The guest kept its primary, or QEMU plugs it again: only a frame through the primary shows which.
            come()
        case .migrating:
            if wasUnplugged { come() } else { rest() }
            // The other host may already have announced the guest.
            actions.append(.announce)
        case .primary:
            calm()
        default: break
        }
        wasUnplugged = false
    }

    /// The guest reboots: the firmware and the first part of the boot use only the standby.
    private mutating func reset() {
        guard state.isHere else { return }
        isNegotiated = false
        hasShutDown = false
        if state == .primary || state == .coming || state == .standby || isOrdered { rest() }
    }

    private mutating func deleted() {
        guard state == .primary || state == .leaving || state == .coming else { return }
        left(to: .standby)
    }

    // MARK: - Other inputs

    package mutating func disconnected() {
        // A QEMU that exits before its guest ran has no guest.
        if state == .awaited { settle(at: .remote) }
        guard hasShutDown else {
            isNegotiated = nil
            if state == .migrating {
                raise(
                    "QEMU's monitor ended during a migration: the guest may be on the other host, or nowhere; "
                        + "\(whereFramesGo); once it is known to be there, switch it to remote")
            }
            return
        }
        // No guest is there to receive, and the next boot begins on the standby.
        isNegotiated = false
        if state.isHere { rest() }
        isNegotiated = nil
        state = .unknown
        hasShutDown = false
        isRunning = false
    }

    package mutating func ranOut(_ timer: Timer) {
        guard armed.remove(timer) != nil else { return }
        switch timer {
        // A cancel before QEMU asked the guest: QEMU asks anyway and plugs again without an event. It has done so by now.
        case .unplug where state == .leaving && wasCalledOff: come()
        case .unplug where state == .leaving:
            raise(
                "the guest has not given up its primary for \(configuration.unplugLimit / 1_000_000_000) s; "
                    + whereFramesGo)
        case .primary where state == .coming:
            raise(
                "the guest has sent nothing by its primary for \(configuration.primaryLimit / 1_000_000_000) s; "
                    + whereFramesGo)
        case .departure where isDeparting: leaveForGood()
        case .retry:
            guard let action = pending else { return }
            pending = nil
            actions.append(action)
        default: break
        }
    }

    package mutating func frameOnPrimary() {
        switch state {
        case .coming: arrivedOnPrimary()
        case .standby where isNegotiated != false: arrivedOnPrimary()
        default: break
        }
    }

    package mutating func seenElsewhere() {
        guard isWatchingUplink else { return }
        isSeen = true
        if isDeparting { leaveForGood() }
    }

    package mutating func carrier(_ isUp: Bool) {
        guard state == .primary else { return }
        if isUp {
            calm()
        } else {
            // A guest ignores its standby while the primary is registered, with or without carrier, so moving would not help.
            raise("the primary's port has no carrier; \(whereFramesGo)")
        }
    }

    package mutating func failed(_ action: Action, _ reason: String) {
        switch action {
        case .openBracket(let target):
            guard bracket == target else { return }
            bracket = nil
            side = sideBefore
            raise("frames cannot be sent to both ports, the move itself will be a cut: \(reason)")
        case .closeBracket, .move, .becomeRemote:
            pending = action
            raise("\(action) failed, and is tried again: \(reason)")
            // Larger shifts would overflow, and the longest pause is reached earlier.
            arm(.retry, min(configuration.retryPause, Configuration.firstRetryPause << Int64(min(failures, 16))))
            failures += 1
        case .announce:
            raise("the guest's addresses could not be announced: \(reason)")
        case .watchUplink(true):
            // Nothing will show that the guest is at its new place.
            isWatchingUplink = false
            if isDeparting { leaveForGood() }
        case .watchPrimary(true):
            raise("the primary's port cannot be watched, so that nothing will show that the guest uses it: \(reason)")
        default: break
        }
    }

    /// The current path of the frames, for alarms.
    private var whereFramesGo: String {
        if bracket != nil { return "frames go to both ports" }
        return "frames go to the \(side.rawValue)"
    }
}

extension MigrationFollower.Action: CustomStringConvertible {
    /// The state in words.
    public var description: String {
        switch self {
        case .openBracket(let side): "sending frames to both ports, on the way to the \(side.rawValue)"
        case .closeBracket(let side): "ending the copies on the \(side.rawValue)"
        case .move(let side): "moving to the \(side.rawValue)"
        case .becomeRemote: "moving to the uplink"
        case .announce: "announcing"
        case .watchPrimary(let isOn): isOn ? "watching the primary" : "watching the primary no more"
        case .watchUplink(let isOn): isOn ? "watching the uplink" : "watching the uplink no more"
        case .sendKept: "sending what the guest missed"
        case .alarm(let text): "alarm: \(text)"
        case .calm: "no alarm any more"
        case .arm(let timer, let nanoseconds): "timer \(timer.rawValue) in \(nanoseconds / 1_000_000) ms"
        case .disarm(let timer): "no timer \(timer.rawValue)"
        }
    }
}
