import Glibc
import JSON
import Lab

/// The verbs of the command line, and what each must answer in the world as it is.
enum ChaosVerbs {
    /// A verb about a guest.
    enum Verb: Hashable {
        case prepare
        case move(ChaosGuest.Place)
        case open(ChaosGuest.Place)
        case close(ChaosGuest.Place)
        case abort, release, reconcile, verify, announce, history, topology, metrics, preflight

        var words: String {
            switch self {
            case .move(let place): "switch to \(place)"
            case .open(let place): "open to \(place)"
            case .close(let place): "close at \(place)"
            default: "\(self)"
            }
        }
        /// Nothing comes of it for a guest that is not prepared.
        var needsGuest: Bool {
            switch self {
            case .move, .open, .abort, .verify, .announce: true
            default: false
            }
        }
        var kind: String { "verb " + words.prefix { $0 != " " } }
    }

    static let family = ChaosFamily(weight: 34) { random in
        let guest = random.guest()
        if random.onceIn(12) {
            let verbs = (verb(&random), verb(&random))
            return ChaosOperation(
                kind: "verb two at once", words: "\(verbs.0.words) and \(verbs.1.words) vm\(guest) at once"
            ) { try runTwo(verbs.0, verbs.1, guest, $0) }
        }
        let verb = verb(&random)
        return ChaosOperation(kind: verb.kind, words: "\(verb.words) vm\(guest)") { try run(verb, guest, $0) }
    }

    /// Chooses a verb.
    static func verb(_ random: inout ChaosRandom) -> Verb {
        let place = random.one(of: [.primary, .primary, .standby, .standby, .remote] as [ChaosGuest.Place])
        let side = random.one(of: [.primary, .standby] as [ChaosGuest.Place])
        let choices: [Verb] = [
            .prepare, .prepare, .prepare, .prepare, .move(place), .move(place), .move(place), .move(place), .open(side),
            .close(side), .close(side), .abort, .release, .reconcile, .verify,
            random.one(of: [.announce, .history, .topology, .metrics, .preflight]),
        ]
        return random.one(of: choices)
    }

    /// The arguments of a verb.
    static func words(_ verb: Verb, _ guest: ChaosGuest) -> [String] {
        let own = guest.hasOnePort ? ["--port"] : ["--primary", "--standby"]
        let ports =
            ["--bridge", guest.bridge.name, "--uplink", guest.uplink.name]
            + zip(own, guest.own).flatMap { [$0, $1.name] }
        let addresses = guest.addresses.flatMap { ["--address", $0] }
        return switch verb {
        case .prepare:
            ["prepare", guest.id] + ports + addresses + ["--at", guest.word(guest.place)]
                + (guest.hasOnePort ? [] : ["--kind", guest.kind]) + (guest.hasGate ? ["--gate"] : [])
                + (guest.neighbour.map { ["--ip", "\($0)=\(guest.addresses[0])", "--neighbour", guest.bridge.name] }
                    ?? [])
        case .move(let place): ["switch", guest.id, "--to", guest.word(place)]
        case .open(let place): ["switch", guest.id, "--to", guest.word(place), "--strategy", "bracket"]
        case .close(let place): ["switch", guest.id, "--to", guest.word(place), "--close"]
        case .abort, .release, .verify: ["\(verb)", guest.id, "--json"]
        case .announce: ["announce", guest.id, "--count", "1", "--ip", "192.0.2.7=\(guest.addresses[0])"]
        case .reconcile: ["reconcile", "--json"]
        case .history, .topology, .metrics: ["\(verb)"]
        case .preflight: ["preflight"] + ports + addresses
        }
    }

    /// Runs a verb, and brings the model to where it leads.
    static func run(_ verb: Verb, _ number: Int, _ world: ChaosWorld) throws {
        let guest = world.guests[number]
        var before = try ChaosView(world)
        if before.guests[guest.id] == nil, verb.needsGuest {
            try run(.prepare, number, world)
            before = try ChaosView(world)
        }
        let expected = before.codes(verb, guest)
        var command = try world.fdbsteer(words(verb, guest))
        // The daemon may have the guest for a moment; a caller tries again.
        for _ in 0..<100 where command.exitCode == 8 && world.daemon != nil {
            usleep(10_000)
            command = try world.fdbsteer(words(verb, guest))
        }
        guard expected.contains(command.exitCode) else {
            throw ChaosViolation(
                rule: .code,
                text:
                    "\(verb.words) \(guest.id): exit code \(command.exitCode), where \(expected.sorted()) would be right: "
                    + command.errors + command.output.prefix(1000))
        }
        try apply(verb, guest, command.exitCode, before, world)
    }

    /// Two processes with one guest: one of them may be told that the other has it.
    private static func runTwo(_ first: Verb, _ second: Verb, _ number: Int, _ world: ChaosWorld) throws {
        let guest = world.guests[number]
        let before = try ChaosView(world)
        guest.doubt = .untilPinned
        try world.fdbsteer(words(first, guest)) { _ in try world.fdbsteer(words(second, guest)) }
        let isKnown = try ChaosView(world).guests[guest.id] != nil
        if !isKnown { guest.found = nil }
        // What is there before a second prepare is what the release before it left.
        if isKnown, before.guests[guest.id] == nil { guest.noteFound(before) }
    }

    /// What the model knows after a verb.
    static func apply(
        _ verb: Verb, _ guest: ChaosGuest, _ code: Int32, _ before: ChaosView, _ world: ChaosWorld
    ) throws {
        if code == 5 { guest.doubt = .untilPinned }
        guard code == 0 else { return }
        switch verb {
        case .prepare:
            if before.guests[guest.id] == nil { guest.noteFound(before) }
            // A record of a bridge that is gone is replaced.
            guest.foundBridge = guest.bridge.incarnation
        case .move(let place), .close(let place):
            // The guest goes where the orchestrator redirects it.
            guest.follow(to: place)
        case .abort, .reconcile:
            for guest in verb == .abort ? [guest] : world.guests where guest.doubt == .none {
                guest.doubt = .untilPinned
            }
        case .release:
            try ChaosRules.checkReleased(guest, world)
            guest.found = nil
        default: break
        }
    }
}

extension ChaosView {
    /// Whether nothing of what a guest needs is missing, or in the way.
    func isHealthy(_ guest: ChaosGuest) -> Bool {
        guard !isFull, guest.doubt == .none else { return false }
        return (guest.own + [guest.uplink]).allSatisfy { works($0, on: guest.bridge) }
    }

    /// The exit codes of a verb that are right for a guest.
    func codes(_ verb: ChaosVerbs.Verb, _ guest: ChaosGuest) -> Set<Int32> {
        let known = guests[guest.id]
        switch verb {
        case .move where isHealthy(guest):
            guard let known, known.phase == "pinned", isCurrent(known, guest) else { break }
            return [0]
        case .prepare where isHealthy(guest):
            guard known == nil || known?.phase == "pinned" && known?.side == guest.place.rawValue else { break }
            return [0]
        case .release where known != nil && !isFull: return [0]
        case .history, .topology, .metrics: return isFull ? ChaosWorld.documented : [0]
        default: break
        }
        return ChaosWorld.documented
    }
}

extension ChaosGuest {
    /// What `release` has to put back.
    func noteFound(_ view: ChaosView) {
        found = [:]
        lost = []
        foundBridge = bridge.incarnation
        for address in addresses { found?[address] = view.kernel.entry(address, on: bridge.name) }
    }
}
