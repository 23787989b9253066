import Netlink
import Policy
import Switchdev
import System

extension Host {
    /// The guest's ports without counters yet.
    func evidence(_ plan: Plan) -> Evidence {
        Evidence(
            ports: plan.guest.ports.map { Evidence.Port(name: $0.port.name, side: $0.side) }, from: plan.from,
            to: plan.to)
    }

    /// Reads the ports' counters; what cannot be read is left out, and is no reason to fail a redirection.
    mutating func count(_ moment: Evidence.Moment, of guest: GuestInterface, into evidence: inout Evidence) {
        guard let counters = try? PortCounters.read(guest.ports.map(\.port.index), using: &socket) else { return }
        for (index, counter) in counters.enumerated() where evidence.ports.indices.contains(index) {
            evidence.ports[index].counters[moment] = counter
        }
    }

    /// Watches the old port until it has sent nothing for two looks, or for so long.
    mutating func observe(
        _ guest: GuestInterface, movedAt: Int64, options: VerbOptions, clock: Stopwatch, into evidence: inout Evidence
    ) {
        let end = clock.elapsed + options.observation
        var last: UInt64?
        var same = 0
        while true {
            count(.after, of: guest, into: &evidence)
            evidence.observedNanoseconds = clock.elapsed - movedAt
            let sent = evidence.ports.first { $0.side == evidence.from }?.counters[.after]?.txPackets
            same = sent == last ? same + 1 : 0
            evidence.becameQuiet = same >= 2
            guard clock.elapsed < end, !evidence.becameQuiet else { return }
            last = sent
            sleepNanoseconds(Host.observationPause)
        }
    }

    /// Between two looks at a port that is to become quiet.
    private static let observationPause: Int64 = 20_000_000
}
