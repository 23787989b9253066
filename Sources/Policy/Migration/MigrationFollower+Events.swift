import JSON
package import QMP

/// What each input changes.
extension MigrationFollower {
    // MARK: - QEMU's events

    package mutating func take(_ event: QMPEvent) {
        switch event.name {
        case .failoverNegotiated where matches(event, configuration.standbyDevice): negotiated()
        case .unplugPrimary where matches(event, configuration.primaryDevice): leave()
        case .migration:
            if let status = event.migrationStatus { migration(status) }
        case .stop: isRunning = false
        case .resume:
            isRunning = true
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

    /// DEVICE_DELETED tells of disks too: without the primary's id it says nothing.
    private func isPrimary(_ event: QMPEvent) -> Bool {
        guard let primary = configuration.primaryDevice else { return false }
        return event.device == primary || event.data["path"]?.text == "/machine/peripheral/\(primary)"
    }

    private mutating func negotiated() {
        isNegotiated = true
        switch state {
        case .standby: come()
        // The device's state is being loaded: the guest stands still on the other host, and runs here next. What is sent to
        // it from now on waits in its standby's queue.
        case .awaited where isIncoming && side == .remote:
            settle(at: .standby)
            actions.append(.announce)
        // The guest's driver was loaded anew: it may be without its primary for a while. Without copies nothing is
        // gained by leaving a primary that is perhaps in use.
        case .primary where configuration.takesCopies: come()
        default: break
        }
    }

    package mutating func migration(_ status: MigrationStatus) {
        wasCalledOff = status == .cancelled || status == .failed
        switch status {
        case .waitUnplug:
            leave()
        case .completed:
            // On the target the virtual CPUs run when a migration completes; on the source they do not.
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
        default: break
        }
    }

    private mutating func pastUnplug() {
        switch state {
        case .leaving:
            left(to: .migrating)
        case .standby, .coming:
            // No primary was taken away: QEMU has plugged none.
            state = .migrating
            wasUnplugged = bracket != nil
            disarm(.primary)
            watch(false)
        case .primary:
            raise("QEMU migrates the guest without having taken its primary away; \(whereFramesGo)")
        default: break
        }
    }

    /// A migration to another host ended here.
    package mutating func cameBack() {
        switch state {
        case .leaving:
            // The guest kept its primary, or QEMU plugs it again: only the primary itself can tell.
            come()
        case .migrating:
            if wasUnplugged { come() } else { rest() }
            // The other host may have announced it already.
            actions.append(.announce)
        case .primary:
            calm()
        default: break
        }
        wasUnplugged = false
    }

    /// The guest reboots: firmware and the first part of the boot know the standby only.
    private mutating func reset() {
        guard state.isHere else { return }
        isNegotiated = false
        hasShutDown = false
        if state == .primary || state == .coming || state == .standby { rest() }
    }

    private mutating func deleted() {
        guard state == .primary || state == .leaving || state == .coming else { return }
        left(to: .standby)
    }

    // MARK: - What else happens

    package mutating func disconnected() {
        // A QEMU that ends before its guest ran has none.
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
        // Nobody is there to receive: the standby is where the next boot begins.
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
        // Cancelled before QEMU had even asked the guest: it asks all the same, and plugs again without a word. By now it has.
        case .unplug where state == .leaving && wasCalledOff: come()
        case .unplug where state == .leaving:
            raise(
                "the guest has not given up its primary for \(configuration.unplugLimit / 1_000_000_000) s; "
                    + whereFramesGo)
        case .primary where state == .coming:
            raise(
                "the guest has sent nothing by its primary for \(configuration.primaryLimit / 1_000_000_000) s; "
                    + whereFramesGo)
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

    package mutating func carrier(_ isUp: Bool) {
        guard state == .primary else { return }
        if isUp {
            calm()
        } else {
            // A guest refuses its standby while the primary is registered, carrier or not: moving would not help.
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
            // Further shifts would overflow; the longest pause is reached before.
            arm(.retry, min(configuration.retryPause, Configuration.firstRetryPause << Int64(min(failures, 16))))
            failures += 1
        case .announce:
            raise("the guest's addresses could not be announced: \(reason)")
        case .watchPrimary(true):
            raise("the primary's port cannot be watched, so that nothing will show that the guest uses it: \(reason)")
        default: break
        }
    }

    /// For alarms.
    private var whereFramesGo: String {
        if bracket != nil { return "frames go to both ports" }
        return "frames go to the \(side.rawValue)"
    }
}

extension MigrationFollower.Action: CustomStringConvertible {
    /// In words.
    public var description: String {
        switch self {
        case .openBracket(let side): "sending frames to both ports, on the way to the \(side.rawValue)"
        case .closeBracket(let side): "ending the copies on the \(side.rawValue)"
        case .move(let side): "moving to the \(side.rawValue)"
        case .becomeRemote: "moving to the uplink"
        case .announce: "announcing"
        case .watchPrimary(let isOn): isOn ? "watching the primary" : "watching the primary no more"
        case .alarm(let text): "alarm: \(text)"
        case .calm: "no alarm any more"
        case .arm(let timer, let nanoseconds): "timer \(timer.rawValue) in \(nanoseconds / 1_000_000) ms"
        case .disarm(let timer): "no timer \(timer.rawValue)"
        }
    }
}
