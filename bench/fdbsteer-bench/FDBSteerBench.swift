import ArgumentParser
import System

/// The bench's command line.
@main
struct FDBSteerBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fdbsteer-bench",
        abstract: "Measures what a redirection costs, beside the commands that scripts use.",
        subcommands: [
            LossCommand.self, OffloadCommand.self, MACFilterCommand.self, SendCommand.self, HandoverCommand.self,
            EVPNCommand.self, MigrateCommand.self, MigrateManyCommand.self, MigrateEndsCommand.self,
            MigrateTCPCommand.self, BracketCommand.self, WatchCommand.self, PeerCommand.self, ThroughputCommand.self,
            ScaleCommand.self, ChaosCommand.self,
        ])

    static func main() {
        SystemFile.secureStandardDescriptors()
        main(nil)
    }
}
