import Configuration
import Glibc
import Testing

/// Files that are made to break a parser. A crash ends the test run.
struct HostileFileTests {
    /// The shipped file with every comment mark of a key taken away: it has every kind of value.
    static let seed: [UInt8] = Array(
        Shipped.uncommented(Shipped.text(of: "fdbsteerd.toml"), examplesToo: true).utf8)

    @Test(arguments: [
        ("a key of 100,000 dots", String(repeating: "a.", count: 100_000) + "a = 1", "nested too deeply"),
        ("a table of 100,000 dots", "[" + String(repeating: "a.", count: 100_000) + "a]", "nested too deeply"),
        ("arrays in arrays", "x = " + String(repeating: "[", count: 500_000), "nested too deeply"),
        ("arrays over lines", "x = " + String(repeating: "[\n", count: 300_000), "nested too deeply"),
        ("tables in tables", "x = " + String(repeating: "{a=", count: 200_000), "nested too deeply"),
        (
            "dots in nested tables",
            "x = " + String(repeating: "[\n{" + String(repeating: "a.", count: 60) + "a=", count: 9),
            "nested too deeply"
        ),
        ("a string over lines", "x = \"\"\"\n[[[[\n\"\"\"", "over several lines"),
        ("a literal string over lines", "x = '''\n'''", "over several lines"),
        ("NUL", "[log]\nlevel = \"info\"\n\0x = [[[[", "control characters"),
        ("form feed", "[log]\u{c}", "control characters"),
        ("a huge number", "[bracket]\nmax_rate = 99999999999999999999999999", "no TOML"),
        ("a huge file", String(repeating: "# words\n", count: 200_000), "longer than"),
        ("one long line", "[log]\nlevel = \"" + String(repeating: "x", count: 1_000_000) + "\"", "log.level must be"),
        ("a string without an end", "[log]\nlevel = \"info", "no TOML"),
        ("a lone carriage return", "[log]\rlevel = 1", "no TOML"),
    ])
    func refused(what: String, text: String, saying words: String) {
        let found = problems(text)
        #expect(found.count == 1 && found.contains { $0.contains(words) }, "\(what): \(found)")
        #expect(found.allSatisfy { $0.utf8.count < 1000 }, "\(what): the message repeats the file")
    }

    @Test func manyTables() throws {
        let text = (0..<9000).map { "[[guest]]\nid = \"vm\($0)\"\nqmp = \"/run/qemu/vm\($0)\"\n" }.joined()
        #expect(try parse(text).guests.count == 9000)
        let problemsOfMany = problems(String(repeating: "[[guest]]\n", count: 100_000))
        #expect(problemsOfMany.count == 50)
    }

    @Test func noBytesOfAnyKindStopIt() {
        for bytes: [UInt8] in [
            [0xff, 0xfe], [0xef, 0xbb, 0xbf], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0x5b], [0x5c, 0x22],
        ] {
            check([UInt8]("[log]\nlevel = \"".utf8) + bytes)
            check(bytes)
        }
    }

    /// Mutations of a file with every key: bytes changed, put in and taken out, parts copied, the file cut short.
    @Test func mutations() {
        var random = SplitMix(state: 20)
        let pieces = [
            "[", "]", "{", "}", "\"", "'", ".", "=", "#", "\n", "\\u0000", "\\", "[[guest]]\n", "0x", "e9", "\u{fe0f}",
        ]
        var accepted = 0
        for _ in 0..<6000 {
            var bytes = HostileFileTests.seed
            for _ in 0...Int.random(in: 0...6, using: &random) {
                let position = Int.random(in: 0..<max(1, bytes.count), using: &random)
                switch Int.random(in: 0..<6, using: &random) {
                case 0 where position < bytes.count: bytes[position] = .random(in: 0...255, using: &random)
                case 1 where position < bytes.count: bytes.remove(at: position)
                case 2: bytes.insert(contentsOf: (pieces.randomElement(using: &random) ?? "").utf8, at: position)
                case 3:
                    let part = bytes[position..<min(bytes.count, position + 40)]
                    bytes.insert(contentsOf: part, at: Int.random(in: 0...bytes.count, using: &random))
                case 4 where position < bytes.count:
                    bytes.swapAt(position, .random(in: 0..<bytes.count, using: &random))
                default: if Int.random(in: 0..<8, using: &random) == 0 { bytes.removeLast(bytes.count - position) }
                }
            }
            if check(bytes) { accepted += 1 }
        }
        // Mutations in comments change nothing, and most others are refused.
        #expect((1..<5000).contains(accepted), "\(accepted) accepted")
    }

    /// Either a configuration within its ranges, or an error that says something.
    @discardableResult
    private func check(_ bytes: [UInt8]) -> Bool {
        do throws(ConfigurationError) {
            let configuration = try DaemonConfiguration.parse(bytes, path: "fuzz.toml")
            #expect((1...1024).contains(configuration.metrics.maxConnections))
            #expect(configuration.daemon.resyncInterval >= 60_000_000_000)
            #expect(Set(configuration.guests.map(\.id)).count == configuration.guests.count)
            return true
        } catch {
            #expect(!error.problems.isEmpty && error.description.hasPrefix("fuzz.toml"))
            return false
        }
    }
}

/// Numbers that are the same in every run (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
