import ArgumentParser
import Controller
import Policy

/// `fdbsteer announce`.
struct AnnounceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "announce",
        abstract: "Tell the physical network, on the uplink, that a guest is on this host.",
        discussion:
            "Sends RARP for each of the guest's addresses, in its VLAN; ARP and neighbour advertisements for --ip, and for what \"prepare --ip\" has recorded."
    )

    @Argument(help: "The guest interface.", completion: Completions.guests)
    var guest: String
    @Option(
        name: .customLong("ip"), parsing: .singleValue,
        help: "An IP address of the guest: IP, or IP=MAC[/VLAN] where the guest has several addresses; several times.")
    var ips: [String] = []
    @Option(help: "How many rounds.")
    var count: UInt16 = 5
    @Option(help: "Between rounds.", transform: TimeLimit.read)
    var interval = TimeLimit(nanoseconds: 100_000_000)
    @OptionGroup var common: CommonOptions

    func validate() throws {
        if count == 0 { throw ValidationError("--count is at least 1") }
    }

    func run() {
        let (id, request) = common.call.check { () throws(ControllerError) in
            var owned: [AnnouncementRequest.Owned] = []
            for text in ips { owned.append(try AnnouncementRequest.Owned(text)) }
            return (
                try GuestID(guest),
                AnnouncementRequest(ips: owned, count: Int(count), interval: interval.nanoseconds)
            )
        }
        common.call.run { host throws(ControllerError) in
            let report = try Announce.run(id, request, dryRun: common.dryRun, on: &host)
            if common.json {
                Output.json(report)
            } else {
                let verb = common.dryRun ? "would be announced" : "announced"
                Output.line(
                    "\(guest): \(verb) on \(report.port), \(report.frames) \(report.frames == 1 ? "frame" : "frames") a round, "
                        + "\(report.rounds) \(report.rounds == 1 ? "round" : "rounds")")
                for note in report.notes { Output.line("  note: \(note)") }
            }
            return 0
        }
    }
}
