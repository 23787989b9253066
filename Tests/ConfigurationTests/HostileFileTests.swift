import Glibc
import TOMLKit
import TestSupport
import Testing

@testable import Configuration

/// Files that try to break a parser. A crash ends the test run.
struct HostileFileTests {
    /// The shipped file with all keys uncommented: it has every kind of value.
    static let seed: [UInt8] = Array(
        Shipped.uncommented(Shipped.text(of: "fdbsteerd.toml"), examplesToo: true).utf8)

    @Test(arguments: [
        ("a key of 100,000 dots", String(repeating: "a.", count: 100_000) + "a = 1", "keys with dots"),
        ("a table of 100,000 dots", "[" + String(repeating: "a.", count: 100_000) + "a]", "a header is"),
        ("arrays in arrays", "x = " + String(repeating: "[", count: 500_000), "nested too deeply"),
        ("arrays over lines", "x = " + String(repeating: "[\n", count: 300_000), "nested too deeply"),
        ("headers in headers", String(repeating: "[", count: 500_000), "a name of letters"),
        ("tables in tables", "x = " + String(repeating: "{a=", count: 200_000), "inline tables"),
        ("a string over lines", "x = \"\"\"\n[[[[\n\"\"\"", "over several lines"),
        ("a literal string over lines", "x = '''\n'''", "over several lines"),
        ("NUL", "[log]\nlevel = \"info\"\n\0x = [[[[", "a name of letters"),
        ("NUL in a string", "[log]\nlevel = \"in\0fo\"", "control characters"),
        ("NUL in a comment", "# \0\n[log]", "control characters"),
        ("an escaped NUL", "[daemon]\nstate = \"/a\\u0000b\"", "must be the absolute path"),
        ("form feed", "[log]\u{c}", "nothing may follow"),
        ("a huge number", "[bracket]\nmax_rate = 99999999999999999999999999", "is too large"),
        ("a number of 1,000,000 digits", "a = " + String(repeating: "9", count: 1_000_000), "is too large"),
        ("a huge file", String(repeating: "# words\n", count: 200_000), "longer than"),
        ("one long line", "[log]\nlevel = \"" + String(repeating: "x", count: 1_000_000) + "\"", "log.level must be"),
        ("a long key", String(repeating: "x", count: 1_000_000) + " = 1", "is unknown"),
        ("a string without an end", "[log]\nlevel = \"info", "the string's end is missing"),
        ("an escape without an end", "[log]\nlevel = \"info\\", "there is no such escape"),
        ("a lone carriage return", "[log]\rlevel = 1", "a carriage return without"),
        // Each of these fails an assertion of toml++ 3.3.
        ("a header that begins with a dot", "[.a]", "a name of letters"),
        ("a table below an empty array", "a = []\n[a.b]", "a header is"),
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

    /// Mutations of a file with every key: bytes changed, inserted and removed, parts copied, and the file truncated.
    @Test func mutations() {
        var random = Dice(20)
        let pieces = [
            "[", "]", "{", "}", "\"", "'", ".", "=", "#", "\n", "\\u0000", "\\", "[[guest]]\n", "0x", "e9", "\u{fe0f}",
        ]
        var accepted = 0
        var compared = 0
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
            if compare(bytes) { compared += 1 }
        }
        // Mutations in comments change nothing, and most others are rejected.
        #expect((500..<5000).contains(accepted) && compared >= accepted, "\(accepted) accepted, \(compared) compared")
    }

    /// The result must mean the same to a full parser. It does not get broken files, because some stop it. It does not get
    /// fractions and dates either, which are not checked closely here because no key accepts them.
    ///
    /// - Returns: whether the two were compared.
    private func compare(_ bytes: [UInt8]) -> Bool {
        guard let table = try? DocumentReader.read(bytes), !hasOther(.table(table)) else { return false }
        let text = String(decoding: bytes, as: UTF8.self)
        do {
            let other = try TOMLTable(string: text)
            withExtendedLifetime(other) { #expect(agree(.table(table), other), "\(text)") }
        } catch {
            Issue.record("\(error): \(text)")
        }
        return true
    }

    private func agree(_ node: Node, _ value: any TOMLValueConvertible) -> Bool {
        switch node {
        case .string(let text): value.string == text || text.contains("\0")
        case .integer(let number): value.int.map(Int64.init) == number
        case .boolean(let flag): value.bool == flag
        case .other: value.string == nil && value.int == nil && value.bool == nil
        case .array(let nodes):
            value.array.map { array in
                array.count == nodes.count && nodes.indices.allSatisfy { agree(nodes[$0], array[$0]) }
            } ?? false
        case .table(let table):
            value.table.map { other in
                other.count == table.entries.count
                    && table.entries.allSatisfy { key, entry in other[key].map { agree(entry.node, $0) } ?? false }
            } ?? false
        }
    }

    private func hasOther(_ node: Node) -> Bool {
        switch node {
        case .other: true
        case .array(let nodes): nodes.contains(where: hasOther)
        case .table(let table): table.entries.values.contains { hasOther($0.node) }
        default: false
        }
    }

    /// The result is either a configuration within its ranges, or an error with a message.
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
