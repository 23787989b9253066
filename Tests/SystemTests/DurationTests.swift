import System
import Testing

struct DurationTextTests {
    @Test(
        arguments: [
            ("0s", 0), ("1us", 1000), ("250ms", 250_000_000), ("90s", 90_000_000_000), ("2min", 120_000_000_000),
            ("1h", 3_600_000_000_000), ("8760h", 31_536_000_000_000_000),
        ] as [(String, Int64)])
    func isRead(text: String, nanoseconds: Int64) {
        #expect(DurationText.nanoseconds(text) == nanoseconds)
        #expect(DurationText.text(nanoseconds) == text)
    }

    @Test(arguments: [
        "", "s", "1", "1.5s", "-1s", "+1s", " 1s", "1 s", "1d", "1ns", "8761h", "4294967295min", "9223372036854775807s",
        "99999999999999999999us", "\u{0661}s",
    ])
    func isRefused(text: String) {
        #expect(DurationText.nanoseconds(text) == nil)
    }
}
