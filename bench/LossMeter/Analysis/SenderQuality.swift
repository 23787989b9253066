/// Measures how well the sender keeps a rate.
package enum SenderQuality {
    /// The rates to try, in frames a second. At a rate below the last, two frames are further apart than the resolution.
    package static let rates = [200_000, 166_000, 142_000, 125_000]
    /// The resolution that a rate must reach, in nanoseconds.
    package static let resolution: Int64 = 10_000
    /// The share of time that transmit gaps of at most the resolution must cover.
    private static let share = 0.9

    /// The highest rate of ``rates`` that the sender keeps: nine times in ten, a random moment lies between two frames that are
    /// at most 10 microseconds apart. It is the last rate if the sender keeps none.
    ///
    /// - Parameter burst: sends a burst at a rate.
    package static func highestRate(_ burst: (Int) throws -> (Recording, [Move])) rethrows -> Int {
        for rate in rates {
            let (recording, _) = try burst(rate)
            if coverage(recording) >= share { return rate }
        }
        return rates[rates.count - 1]
    }

    /// The share of a recording's time that lies in transmit gaps of at most ``resolution``.
    package static func coverage(_ recording: Recording) -> Double {
        let times = recording.transmitted.filter { $0 != 0 }
        guard let first = times.first, let last = times.last, last > first else { return 0 }
        let good = zip(times.dropFirst(), times).map { $0 - $1 }.filter { $0 <= resolution }.reduce(0, +)
        return Double(good) / Double(last - first)
    }
}
