import QMP
import Testing

@Suite struct LineBufferTests {
    private func lines(_ chunks: [String], limit: Int = 16) -> (lines: [String], overlong: Int) {
        var buffer = LineBuffer(limit: limit)
        var lines: [String] = []
        for chunk in chunks {
            Array(chunk.utf8).withUnsafeBytes { bytes in
                buffer.append(bytes) { lines.append(String(decoding: $0, as: UTF8.self)) }
            }
        }
        return (lines, buffer.overlong)
    }

    @Test func linesComeWholeHoweverTheyAreCut() {
        let text = "one\ntwo\r\n\nthree\nrest"
        #expect(lines([text]).lines == ["one", "two", "three"])
        #expect(lines(text.map(String.init)).lines == ["one", "two", "three"])
    }

    @Test func longLinesAreDroppedAndCounted() {
        let long = String(repeating: "x", count: 17)
        #expect(lines([long + "\nok\n"]) == (["ok"], 1))
        #expect(lines((long + "\nok\n").map(String.init)) == (["ok"], 1))
        // An endless line: nothing of it is kept.
        #expect(lines(Array(repeating: long, count: 100)) == ([], 1))
        #expect(lines([String(repeating: "x", count: 16) + "\n"]).overlong == 0)
    }
}
