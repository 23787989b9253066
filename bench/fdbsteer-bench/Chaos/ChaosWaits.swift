import Glibc
import Lab
import System

/// `switch --until`, with signals that come or do not come.
enum ChaosWaits {
    private enum Signal: String, CaseIterable { case word, carrier, frame, command, qmp }

    static let family = ChaosFamily(weight: 6) { random in
        let number = random.guest()
        let signal = random.one(of: Signal.allCases)
        let place = random.one(of: [.primary, .standby] as [ChaosGuest.Place])
        let comes = !random.onceIn(3)
        let isBracket = random.onceIn(3)
        return ChaosOperation(
            kind: "wait \(signal)",
            words: "\(isBracket ? "bracket" : "switch") vm\(number) to \(place) until \(signal), which "
                + (comes ? "comes" : "does not come")
        ) { try wait($0, number, place, signal, comes, isBracket) }
    }

    private static func wait(
        _ world: ChaosWorld, _ number: Int, _ place: ChaosGuest.Place, _ signal: Signal, _ comes: Bool,
        _ isBracket: Bool
    ) throws {
        let guest = world.guests[number]
        if try ChaosView(world).guests[guest.id] == nil { try ChaosVerbs.run(.prepare, number, world) }
        let before = try ChaosView(world)
        let isReady =
            !isBracket && guest.word(guest.place) != guest.word(place) && before.isHealthy(guest)
            && before.guests[guest.id].map {
                $0.phase == "pinned" && before.isCurrent($0, guest)
            } ?? false
        // A monitor belongs to the daemon that follows it.
        let monitor = world.monitors[guest.isFollowed ? 0 : number]
        let until =
            switch signal {
            case .word: "word"
            case .carrier: "carrier:\(guest.word(.primary))=down"
            case .frame: "frame:\(guest.word(place))"
            case .command: "command:/bin/\(comes ? "true" : "sleep")"
            case .qmp: "qmp:\(monitor.path):DEVICE_DELETED"
            }
        var words = ["switch", guest.id, "--to", guest.word(place), "--until", until, "--timeout", "400ms"]
        if isBracket { words += ["--strategy", "bracket"] }
        let command = try world.fdbsteer(words, bound: ChaosWorld.bound + 0.4) { process in
            guard comes else { return }
            // A frame before it listens is none that it hears.
            for _ in 0..<40 where !ChildProcess.hasEnded(process) {
                if try ["waiting", "bracketed"].contains(ChaosView(world).guests[guest.id]?.phase) { break }
                usleep(10_000)
            }
            switch signal {
            case .word: kill(process, SIGUSR1)
            case .carrier: try ChaosPorts.setFar(guest.primary, up: false)
            case .frame: ChaosFrames.send(from: guest.port(place), source: guest.addresses[0])
            case .qmp: monitor.tell("DEVICE_DELETED", #"{"device": "vf", "path": "/machine/peripheral/vf"}"#)
            case .command: break
            }
        }
        let isCertain = signal == .word || signal == .command || signal == .frame
        // A program that fails can never be the signal: the wait ends at once.
        let isHopeless = signal == .command && !comes && command.exitCode == 3
        if isReady, isCertain, !isHopeless, command.exitCode != (comes ? 0 : 6), world.daemon == nil {
            throw ChaosViolation(
                rule: .code,
                text: "\(words.joined(separator: " ")): exit code \(command.exitCode), the signal "
                    + "\(comes ? "came" : "did not come"): \(command.errors)\(command.output)")
        }
        if command.exitCode == 0 {
            guest.follow(to: place)
        } else if isBracket || command.exitCode == 5 {
            guest.doubt = .untilPinned
        }
    }
}

/// Processes that are killed at any system call.
enum ChaosKills {
    static let family = ChaosFamily(weight: 10) { random in
        let number = random.guest()
        let verb = ChaosVerbs.verb(&random)
        let call = Int.random(in: 1...170, using: &random)
        return ChaosOperation(
            kind: "kill", words: "kill \(verb.words) vm\(number) at system call \(call)"
        ) { world in
            let guest = world.guests[number]
            if verb.needsGuest, try ChaosView(world).guests[guest.id] == nil {
                try ChaosVerbs.run(.prepare, number, world)
            }
            let before = try ChaosView(world)
            let words = ChaosVerbs.words(verb, guest)
            let command: Command
            if let tracer {
                let prefix = [
                    tracer, "-f", "-qq", "-o", "/dev/null", "-e", "trace=all", "-e",
                    "inject=all:signal=KILL:when=\(call)",
                ]
                command = try world.fdbsteer(words, prefix: prefix, isKilled: true)
            } else {
                command = try world.fdbsteer(words, isKilled: true) { process in
                    usleep(UInt32(call * 30))
                    kill(process, SIGKILL)
                }
            }
            if command.exitCode != 128 + SIGKILL {
                try ChaosVerbs.apply(verb, guest, command.exitCode, before, world)
                return
            }
            if verb == .prepare, guest.found == nil { guest.noteFound(before) }
            for guest in verb == .reconcile ? world.guests : [guest] where guest.doubt == .none {
                guest.doubt = .untilPinned
            }
            // Without a daemon somebody runs reconcile, and a guest that it undid is not prepared.
            if world.daemon == nil { try ChaosVerbs.run(.reconcile, number, world) }
        }
    }

    /// strace ends a process at the system call with a number; without it the time decides.
    private static let tracer: String? = ["/usr/bin/strace", "/bin/strace"].first { access($0, X_OK) == 0 }
}
