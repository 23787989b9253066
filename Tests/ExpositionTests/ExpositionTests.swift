import Exposition
import Testing

private func page(_ families: MetricFamily...) -> String {
    String(decoding: Exposition.render(families), as: UTF8.self)
}

struct ExpositionTests {
    @Test func familiesAndSamplesInOrder() {
        var moves = MetricFamily("b_total", .counter, help: "Moves.", labels: ["to", "how"])
        moves.set(2, "standby", "cut")
        moves.set(UInt64.max, "primary", "cut")
        moves.set(1, "primary", "bracket")
        var guests = MetricFamily("a_guests", .gauge, help: "Guests.")
        guests.set(.real(1.5))
        let wanted = """
            # HELP a_guests Guests.
            # TYPE a_guests gauge
            a_guests 1.5
            # HELP b_total Moves.
            # TYPE b_total counter
            b_total{to="primary",how="bracket"} 1
            b_total{to="primary",how="cut"} 9223372036854775807
            b_total{to="standby",how="cut"} 2

            """
        #expect(page(moves, guests) == wanted)
        #expect(page(guests, moves) == wanted)
        var other = MetricFamily("a_guests", .gauge, help: "A second one of the name.")
        other.set(7)
        #expect(page(guests, moves, other) == wanted)
        #expect(page() == "")
    }

    @Test func escaping() {
        var family = MetricFamily("a", .gauge, help: "One \\ two\n\"three\".", labels: ["name"])
        family.set(1, "back\\slash \"quote\"\nline ü")
        #expect(
            page(family) == """
                # HELP a One \\\\ two\\n"three".
                # TYPE a gauge
                a{name="back\\\\slash \\"quote\\"\\nline ü"} 1

                """)
    }

    @Test(arguments: [
        (0, "0"), (-0.5, "-0.5"), (1e21, "1e+21"), (1e-5, "1e-05"), (0.0001, "0.0001"), (.nan, "NaN"),
        (.infinity, "+Inf"), (-.infinity, "-Inf"), (1_700_000_000.25, "1700000000.25"), (3, "3"),
    ])
    func numbers(number: Double, text: String) {
        var family = MetricFamily("a", .gauge, help: "A.")
        family.set(.real(number))
        #expect(page(family).hasSuffix("\na \(text)\n"), "\(page(family))")
    }

    @Test func histograms() {
        var histogram = DurationHistogram(bounds: [1_000_000, 10_000, 1_000_000, 2_000_000_000])
        for nanoseconds: Int64 in [0, 10_000, 10_001, 1_000_000, 3_000_000_000, -5] { histogram.observe(nanoseconds) }
        #expect(histogram.count == 6)
        var family = MetricFamily("t_seconds", .histogram, help: "T.", labels: ["phase"])
        family.set(.durations(histogram), "move")
        #expect(
            page(family) == """
                # HELP t_seconds T.
                # TYPE t_seconds histogram
                t_seconds_bucket{phase="move",le="1e-05"} 3
                t_seconds_bucket{phase="move",le="0.001"} 5
                t_seconds_bucket{phase="move",le="2"} 5
                t_seconds_bucket{phase="move",le="+Inf"} 6
                t_seconds_sum{phase="move"} 3.001020001
                t_seconds_count{phase="move"} 6

                """)
        histogram.observe(.max)
        histogram.observe(.max)
        #expect(histogram.sum == .max)
    }

    @Test func names() {
        for name in ["a", "_a1", "a:b", "fdbsteer_x_total"] { #expect(MetricName(name) != nil, "\(name)") }
        for name in ["", "1a", "a-b", "a b", "ä", "a\n", "a{"] { #expect(MetricName(name) == nil, "\(name)") }
        for name in ["a", "_a", "side"] { #expect(LabelName(name) != nil, "\(name)") }
        for name in ["", "a:b", "__a", "le", "1", "ä"] { #expect(LabelName(name) == nil, "\(name)") }
    }

    /// A sample of another kind than its family, or with other labels, stops the program.
    @Test func mistakesOfTheProgramStopIt() async {
        await #expect(processExitsWith: .failure) {
            var family = MetricFamily("a", .gauge, help: "A.", labels: ["side"])
            family.set(1)
        }
        await #expect(processExitsWith: .failure) {
            var family = MetricFamily("a", .gauge, help: "A.")
            family.set(.durations(DurationHistogram(bounds: [1])))
        }
        await #expect(processExitsWith: .failure) { _ = MetricFamily("a b", .gauge, help: "A.") }
    }
}
