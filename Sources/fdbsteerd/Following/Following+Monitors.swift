import Configuration
import Glibc
import Logging
import Policy
import QMP
import System

/// The monitors of followed guests.
extension Following {
    /// Connects to the monitors that the followed guests name, and to no others.
    mutating func chooseMonitors(now: Int64, _ context: inout DaemonContext) {
        var wanted: [String: [Int64]] = [:]
        for guest in guests.values {
            if let path = guest.monitorPath { wanted[path, default: []].append(guest.row) }
        }
        for (path, monitor) in monitors where wanted[path] == nil {
            monitorPaths[monitor.token] = nil
            monitors[path] = nil
        }
        for (path, rows) in wanted {
            let monitor = monitors[path] ?? Monitor(path, token: nextMonitorToken, now: now)
            if monitors[path] == nil {
                monitors[path] = monitor
                monitorPaths[monitor.token] = path
                nextMonitorToken -= 1
            }
            monitor.rows = rows.sorted()
            // Who is new to a connection, or begins anew, has to know how things stand.
            guard rows.contains(where: { guests[$0]?.awaitsSituation == true }) else { continue }
            monitor.client.askAgain(now: now)
            watch(monitor, context)
        }
    }

    /// Takes what a monitor has told, for all guests that it serves.
    mutating func hear(_ monitor: Monitor, now: Int64, _ context: inout DaemonContext) {
        for happening in monitor.hear(now: now) {
            for guest in monitor.rows.compactMap({ guests[$0] }) { take(happening, of: guest, now: now, &context) }
        }
        if let (silence, isHeardAgain) = monitor.news() {
            let names = monitor.rows.compactMap { guests[$0]?.settings.id.text }.joined(separator: ",")
            var about: Logger.Metadata = ["guest": "\(names)", "qmp": "\(monitor.path)"]
            if let silence {
                about["reason"] = "\(silence)"
                context.log.warning("the monitor is not heard", metadata: about)
            } else if isHeardAgain {
                context.log.notice("the monitor is heard again", metadata: about)
            }
        }
        watch(monitor, context)
        for guest in monitor.rows.compactMap({ guests[$0] }) { note(guest, &context) }
    }

    /// Its connection may be a new one, or has something to send.
    private func watch(_ monitor: Monitor, _ context: borrowing DaemonContext) {
        if let descriptor = monitor.client.descriptor {
            context.descriptors.watch(descriptor, events: monitor.client.pollEvents, token: monitor.token)
        }
    }

    private mutating func take(
        _ happening: QMPClient.Happening, of guest: Followed, now: Int64, _ context: inout DaemonContext
    ) {
        switch happening {
        case .connected(let situation):
            guest.awaitsSituation = false
            guest.held = HeldEvents()
            handle(.connected(situation), of: guest, &context)
            if guest.settings.followRXFilter { follow(situation.filters, of: guest, &context) }
        case .disconnected:
            guest.awaitsSituation = true
            handle(.disconnected, of: guest, &context)
        case .event(let event): hear(event, of: guest, now: now, &context)
        case .filters(let filters):
            if guest.settings.followRXFilter { follow(filters, of: guest, &context) }
        case .reply: break
        }
    }

    /// Tells the policy of an event, or keeps it for a while: what a guest does may cost a few redirections at once, and not more.
    mutating func hear(_ event: QMPEvent, of guest: Followed, now: Int64, _ context: inout DaemonContext) {
        guard guest.isHeld(at: now) else { return handle(.event(event), of: guest, &context) }
        if QMPEvent.Name.known.contains(event.name) { guest.held.keep(event) }
    }

    /// Hands over what was held back of a guest.
    mutating func release(_ guest: Followed, _ context: inout DaemonContext) {
        let held = guest.held
        guest.held = HeldEvents()
        context.log.notice(
            "its guest's doings were held back",
            metadata: ["guest": "\(guest.settings.id)", "count": "\(held.count)"])
        for event in held.events { handle(.event(event), of: guest, &context) }
        if held.hasFrame, guest.frames != nil { handle(.frameOnPrimary, of: guest, &context) }
    }

    /// A path by which a socket is known whichever way it was named.
    static func resolved(_ path: String) -> String {
        guard let real = realpath(path, nil) else { return path }
        defer { free(real) }
        return String(cString: real)
    }
}
