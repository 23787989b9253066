import FoundationEssentials
import Glibc
import Lab
import Testing

/// The hand-over bench as its users run it.
@Suite(.serialized, .enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct HandoverTests {
    private struct Report: Decodable {
        struct Row: Decodable {
            let method: String
            let peer: String
            let handovers: Int
            let sent: Int
            let lostTotal: Int
            let lostUnexplained: Int
        }
        let handover: [Row]
    }

    @Test func nothingIsLostButWhatIsUnderWayDuringTheHandover() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let file = folder.path + "/report.json"
        let command = try Command.run([
            CommandLineLab.products + "/fdbsteer-bench", "handover", "--handovers", "2", "--rate", "1000", "--check",
            "--json", file,
        ])
        #expect(command.exitCode == 0, "\(command.output)\(command.errors)")
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let rows = try decoder.decode(Report.self, from: Data(TextFile.read(file).utf8)).handover
        let steered = rows.filter { $0.method == "fdbsteer" }
        #expect(steered.count == 6)
        #expect(steered.allSatisfy { $0.handovers >= 2 && $0.sent > 0 && $0.lostUnexplained == 0 })
        // The bench detects loss: a pin on the target before the guest arrives takes away the frames of the target's peers.
        let blackholes = rows.filter { $0.method == "sticky, no remote" && $0.peer == "target host" }
        #expect(blackholes.count == 2)
        #expect(blackholes.allSatisfy { $0.lostUnexplained > 100 }, "\(command.output)")
    }
}
