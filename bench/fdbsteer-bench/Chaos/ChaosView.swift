import JSON
import Lab

/// A world as the kernel and `fdbsteer status` show it at one moment.
struct ChaosView {
    /// A guest as `status` shows it.
    struct Guest {
        let side: String
        let phase: String
        let isRunning: Bool
        /// Problems, and the daemon's conditions, without ``symptoms``.
        let problems: [String]
        /// The interface indexes of the sides.
        let ports: [String: Int64]

        /// Codes with which `status` says that a guest differs from its record: that is to be explained, and explains nothing.
        private static let symptoms: Set = [
            "entry-wrong", "address-taken", "guard-missing", "copy-wrong", "hardware-differs",
        ]

        init?(_ object: JSON) {
            guard let side = object["side"]?.text, let phase = object["phase"]?.text else { return nil }
            self.side = side == "local" ? "standby" : side
            self.phase = phase
            isRunning = object["running"]?.bool ?? false
            let found = ["problems", "conditions"].flatMap { object[$0]?.elements ?? [] }
            problems = found.filter { !Guest.symptoms.contains($0["code"]?.text ?? "") }.map {
                "\($0["subject"]?.text ?? ""): \($0["message"]?.text ?? $0.description)"
            }
            var ports: [String: Int64] = [:]
            for (place, member) in [("primary", "primary"), ("standby", "standby"), ("remote", "uplink")] {
                ports[place] = (object[member] ?? (place == "remote" ? nil : object["local"]))?["ifindex"]?.integer
            }
            self.ports = ports
        }
    }

    let kernel: ChaosKernel
    /// By name.
    let guests: [String: Guest]
    let isFull: Bool

    /// Reads both.
    ///
    /// - Throws: ``ChaosViolation`` when `status` fails, or finds a broken record; ``LabError``.
    init(_ world: ChaosWorld) throws {
        kernel = try ChaosKernel()
        let command = try world.fdbsteer(["status", "--json"], codes: [0, 3])
        guard let object = JSON(text: command.output), let list = object["guests"]?.elements else {
            throw ChaosViolation(rule: .silence, text: "status --json: \(command.output)\(command.errors)")
        }
        // A full file system is said there too.
        let broken = (object["broken"]?.elements ?? []).filter {
            !world.isFull || $0["message"]?.text?.contains("is full: no redirection") != true
        }
        if !broken.isEmpty {
            throw ChaosViolation(rule: .leftover, text: "status: broken records: \(broken)")
        }
        var guests: [String: Guest] = [:]
        for object in list {
            guard let name = object["guest"]?.text, let guest = Guest(object) else { continue }
            guests[name] = guest
        }
        self.guests = guests
        isFull = world.isFull
    }

    /// Whether a port is in a bridge, up, with a carrier.
    func works(_ port: ChaosPort, on bridge: ChaosBridge) -> Bool {
        guard port.isUsable, let found = kernel.ports[port.name] else { return false }
        return found.works && found.bridge == bridge.name
    }

    /// Whether the record speaks of the bridge and the ports that there are now.
    func isCurrent(_ known: Guest, _ guest: ChaosGuest) -> Bool {
        guest.foundBridge == guest.bridge.incarnation
            && ChaosGuest.Place.allCases.allSatisfy { place in
                guard let index = known.ports[place.rawValue] else { return false }
                return kernel.ports[guest.port(place).name]?.ifindex == index
            }
    }

    /// The side where a guest's entries belong: while a bracket is open, that is the standby, or the primary while the standby
    /// delivers nothing.
    func entrySide(_ known: Guest, _ guest: ChaosGuest) -> String {
        func delivers(_ side: String) -> Bool {
            kernel.port(known.ports[side]).map { $0.port.works && $0.port.bridge == guest.bridge.name } ?? false
        }
        guard ["bracketed", "opening", "closing"].contains(known.phase) else { return known.side }
        return !delivers("standby") && delivers("primary") ? "primary" : "standby"
    }

    /// What `status` says that can be the reason why a guest is not served at a place: not what is wrong with another of its
    /// ports, or with its monitor.
    func reasons(_ known: Guest, _ guest: ChaosGuest, at place: ChaosGuest.Place) -> [String] {
        let right = guest.port(place)
        let others: [ChaosPort] = (guest.own + [guest.uplink]).filter { $0 !== right }
        return known.problems.filter { text in
            let isElsewhere = others.contains { (port: ChaosPort) in
                text.contains(port.home) || text.contains("\(port.name):")
            }
            return !text.hasPrefix("/") && (!isElsewhere || text.contains(right.home))
        }
    }
}
