import Configuration
import Controller
import Glibc
import Logging
import Netlink
import Policy
import QMP
import Switchdev
import System

/// Guests whose events libvirt tells: one program prints those of all domains, and cannot be asked how things stand.
extension Loop {
    /// Starts the program where a followed guest needs it, ends it where none does.
    mutating func chooseEvents(now: Int64) {
        let command = configuration.libvirt.eventsCommand
        guard followed.values.contains(where: { $0.settings.domain != nil }) else {
            events = nil
            return
        }
        if events?.arguments != command { events = EventCommand(command, now: now) }
    }

    /// The program runs.
    var isListening: Bool { events?.isListening ?? false }

    /// When something of the program is due.
    var eventsDue: Int64? { events?.nextDeadline }

    /// Takes what the program has printed.
    mutating func hearEvents() {
        var happenings: [EventCommand.Happening] = []
        events?.advance(now: monotonicNanoseconds()) { happenings.append($0) }
        // The pipe may be a new one.
        if let descriptor = events?.descriptor { descriptors.watch(descriptor, token: Loop.ownToken) }
        for happening in happenings {
            switch happening {
            case .listening:
                log.notice("hearing libvirt's events")
                for (id, guest) in followed where guest.settings.domain != nil { beginAnew(guest, id) }
            case .event(let event, let domain):
                for (id, guest) in followed where guest.settings.domain == domain { take(event, of: guest, id) }
            case .ended(let reason):
                log.warning("libvirt's events are not heard", metadata: ["reason": "\(reason)"])
            }
        }
        if !happenings.isEmpty { noteFollowed() }
    }

    /// Events may have been missed: the policy goes on from where the entries are.
    private mutating func beginAnew(_ guest: Followed, _ id: GuestID) {
        guard let (_, known, bracket) = keeper.guest(id) else { return }
        guest.begin(known, bracket: bracket, now: monotonicNanoseconds())
        presume(guest)
    }

    /// Tells the policy what is taken for so, when there is nobody to ask.
    mutating func presume(_ guest: Followed) {
        guard guest.settings.domain != nil, isListening else { return }
        handle(.connected(guest.follower.presumed), of: guest, guest.settings.id)
    }

    private mutating func take(_ event: QMPEvent, of guest: Followed, _ id: GuestID) {
        handle(.event(event), of: guest, id)
        // A monitor ends with its QEMU; here nothing else tells of that.
        guard event.name == .shutdown else { return }
        handle(.disconnected, of: guest, id)
        presume(guest)
    }
}
