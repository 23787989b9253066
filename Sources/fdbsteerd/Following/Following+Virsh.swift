import Configuration
import Controller
import Logging
import Policy
import QMP
import System

/// Guests whose events libvirt tells: one program prints those of all domains, and cannot be asked how things stand.
extension Following {
    /// Starts the program where a followed guest needs it, ends it where none does.
    mutating func chooseEvents(now: Int64, _ context: inout DaemonContext) {
        let command = context.configuration.libvirt.eventsCommand
        guard guests.values.contains(where: { $0.settings.domain != nil }) else {
            events = nil
            return
        }
        if events?.arguments != command { events = EventCommand(command, now: now) }
    }

    /// The program runs.
    var isListening: Bool { events?.isListening ?? false }

    /// Takes what the program has printed.
    mutating func hearEvents(_ context: inout DaemonContext) {
        var happenings: [EventCommand.Happening] = []
        events?.advance(now: monotonicNanoseconds()) { happenings.append($0) }
        // The pipe may be a new one.
        if let descriptor = events?.descriptor {
            context.descriptors.watch(descriptor, token: DaemonContext.ownToken)
        }
        var isNews = false
        for happening in happenings {
            switch happening {
            case .listening:
                isNews = true
                context.log.notice("hearing libvirt's events")
                for guest in guests.values where guest.settings.domain != nil { beginAnew(guest, &context) }
            case .event(let event, let domain):
                for guest in guests.values where guest.settings.domain == domain {
                    take(event, of: guest, &context)
                    note(guest, &context)
                }
            case .ended(let reason):
                isNews = true
                context.log.warning("libvirt's events are not heard", metadata: ["reason": "\(reason)"])
            }
        }
        if isNews { note(&context) }
    }

    /// Events may have been missed: the policy goes on from where the entries are.
    private mutating func beginAnew(_ guest: Followed, _ context: inout DaemonContext) {
        guard let record = context.keeper.record(guest.row) else { return }
        context.keeper.stopAsking(guest.row)
        endReplay(of: guest, "libvirt's events are heard anew", &context)
        guest.begin(record)
        presume(guest, &context)
    }

    /// Tells the policy what is taken for so, when there is nobody to ask.
    mutating func presume(_ guest: Followed, _ context: inout DaemonContext) {
        guard guest.settings.domain != nil, isListening else { return }
        handle(.connected(guest.follower.presumed), of: guest, &context)
    }

    private mutating func take(_ event: QMPEvent, of guest: Followed, _ context: inout DaemonContext) {
        hear(event, of: guest, now: monotonicNanoseconds(), &context)
        // A monitor ends with its QEMU; here nothing else tells of that.
        guard event.name == .shutdown else { return }
        handle(.disconnected, of: guest, &context)
        presume(guest, &context)
    }
}
