import ArgumentParser
import FDB
import Lab
import LossMeter

/// `fdbsteer-bench send`.
struct SendCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "send",
        abstract: "Sends frames to a MAC at a rate, and prints how many it sent. For labs: it names its interface.")

    @Option(help: "The interface to send from.")
    var interface: String
    @Option(help: "The destination MAC.")
    var destination: String
    @Option(help: "Frames a second, 1 to 100000.")
    var rate = 1000
    @Option(help: "For so long.")
    var seconds = 1.0

    func validate() throws {
        guard (1...100_000).contains(rate), (0.001...3600).contains(seconds) else {
            throw ValidationError("--rate goes from 1 to 100000, --seconds from 0.001 to 3600")
        }
        guard MACAddress(destination) != nil else {
            throw ValidationError("--destination \(destination) is no MAC address")
        }
    }

    func run() throws {
        let sent = try PacedSender(
            interface: interface, destinationMAC: Interface.octets(destination),
            sourceMAC: Interface.octets("52:54:00:fd:b5:fe"), rate: rate
        ).run(seconds: seconds)
        print(sent)
    }
}
