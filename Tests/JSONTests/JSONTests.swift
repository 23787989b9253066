import JSON
import System
import Testing

@Suite struct JSONTests {
    @Test(arguments: [
        ("null", JSON.null), (" true ", .bool(true)), ("-12", .integer(-12)), ("1.5e3", .number(1500)),
        ("9223372036854775808", .number(9_223_372_036_854_775_808)), ("\"\"", .string("")),
        (#""a\"\\\/\b\f\n\r\tß\u00df""#, .string("a\"\\/\u{8}\u{c}\n\r\tßß")), (#""\ud83d\ude00""#, .string("😀")),
        (#""\ud83d!""#, .string("\u{fffd}!")), ("[]", .array([])), ("{}", .object([])),
        ("[1, [2], {\"a\": null}]", .array([.integer(1), .array([.integer(2)]), .object([.init("a", .null)])])),
    ])
    func values(text: String, value: JSON) {
        #expect(JSON(text: text) == value)
    }

    @Test(arguments: [
        "", " ", "nul", "tru", "-", "--1", "+1", ".5", "1-2", "\"", "\"\\", "\"\\u12", "\"\\x\"", "\"a\nb\"", "[", "[1",
        "[1,",
        "[1,]", "[1 2]", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{1:2}", "1 2", "]", "\u{0}",
    ])
    func noJSON(text: String) {
        #expect(JSON(text: text) == nil)
    }

    @Test func boundsHold() {
        let nested = String(repeating: "[", count: 32) + String(repeating: "]", count: 32)
        #expect(JSON(text: nested) != nil)
        #expect(JSON(text: "[\(nested)]") == nil)
        #expect(JSON(text: String(repeating: "[", count: 1 << 20)) == nil)
        #expect(JSON(text: "[" + String(repeating: "1,", count: 200_000) + "1]") == nil)
    }

    @Test func whatIsWrittenIsReadAgain() {
        let value = JSON.object([
            .init(
                "quote\"\\\u{1}\n",
                .array([
                    .integer(Int64.min), .integer(-7), .integer(0), .integer(Int64.max), .number(0.5), .bool(false),
                    .null, .string("ü😀"),
                ]))
        ])
        #expect(JSON(text: value.description) == value)
        #expect(!value.description.contains("\n"))
    }

    @Test func encodedValuesHaveSortedKeysInSnakeCase() throws {
        struct Part: Encodable {
            let aURLKey: [String: Double]
            var empty: [Int] = []
            var large: UInt64 = 9_223_372_036_854_775_807
            var waitedNanoseconds: Int64 = 7
        }
        let value = try JSON(encoding: [Part(aURLKey: ["keyA": 3, "b\n": 0.5])])
        #expect(
            value.description
                == #"[{"a_url_key":{"b\n":0.5,"keyA":3},"empty":[],"large":9007199254740991,"waited_ns":7}]"#)
        #expect(
            value.pretty == """
                [
                  {
                    "a_url_key" : {
                      "b\\n" : 0.5,
                      "keyA" : 3
                    },
                    "empty" : [],
                    "large" : 9007199254740991,
                    "waited_ns" : 7
                  }
                ]
                """)
        #expect(throws: EncodingError.self) { try JSON(encoding: [1, Double.infinity]) }
    }

    /// The daemon encodes for as long as it runs.
    @Test func nothingIsKeptOfWhatWasEncoded() throws {
        final class Seen {
            weak var encoder: AnyObject?
        }
        struct Part: Encodable {
            let seen: Seen
            func encode(to encoder: any Encoder) throws {
                seen.encoder = encoder as AnyObject
                var list = encoder.unkeyedContainer()
                try list.encode("a")
            }
        }
        struct Whole: Encodable {
            let part: Part
        }
        let seen = Seen()
        #expect(try JSON(encoding: Whole(part: Part(seen: seen))).description == #"{"part":["a"]}"#)
        #expect(seen.encoder == nil)
    }

    @Test func aMomentIsTextAndMicroseconds() throws {
        struct Part: Encodable {
            @JSON.Time var seenAt: Int64
            @JSON.Time var unknown: Int64 = 0
        }
        let value = try JSON(encoding: Part(seenAt: 1_709_210_096_000_789_999))
        #expect(
            value.description == #"{"seen_at":"2024-02-29T12:34:56.000789Z","seen_at_us":1709210096000789}"#)
        #expect(Timestamp.text(999_999_999) == "1970-01-01T00:00:00.999Z")
    }

    @Test func ofEqualNamesTheLastCounts() {
        #expect(JSON(text: #"{"a": 1, "a": 2}"#)?["a"]?.integer == 2)
    }
}
