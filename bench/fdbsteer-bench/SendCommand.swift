import ArgumentParser
import FDB
import Lab
import LossMeter

/// `fdbsteer-bench send`.
struct SendCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "send",
        abstract: "Sends numbered frames to a MAC at a rate and counts where they arrive. For labs.")

    @Option(help: "The interface to send from.")
    var interface: String
    @Option(name: .customLong("receive"), parsing: .singleValue, help: "An interface to count on; once for each.")
    var receivers: [String] = []
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
        let count = try PacedSender(
            interface: interface, receivers: receivers, destinationMAC: Interface.octets(destination),
            sourceMAC: Interface.octets("52:54:00:fd:b5:fe"), rate: rate
        ).send(seconds: seconds)
        print("\(count.sent) frames sent to \(destination)")
        for (name, received) in zip(receivers, count.received) { print("  \(received) arrived at \(name)") }
        if !receivers.isEmpty { print("  \(count.lost) lost, \(count.duplicated) duplicated") }
    }
}
