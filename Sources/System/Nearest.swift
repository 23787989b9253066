/// The word that somebody meant who has mistyped it.
package enum Nearest {
    /// The most similar word; nil if none is similar.
    package static func word(to word: String, in words: some Sequence<String>) -> String? {
        guard word.utf8.count <= 64 else { return nil }
        let meant = Array(word.lowercased().utf8)
        let distances = words.map { (word: $0, distance: distance(meant, Array($0.lowercased().utf8))) }
        guard let best = distances.min(by: { $0.distance < $1.distance }), best.distance <= max(1, word.utf8.count / 3)
        else {
            return nil
        }
        return best.word
    }

    /// The question that a message ends with; nil if no word is similar.
    package static func question(to word: String, in words: some Sequence<String>) -> String? {
        self.word(to: word, in: words).map { "did you mean \($0)?" }
    }

    /// The number of letters to insert, remove, change, or swap with the next one (the restricted distance of Damerau and
    /// Levenshtein).
    private static func distance(_ one: [UInt8], _ other: [UInt8]) -> Int {
        var before: [Int] = []
        var row = Array(0...other.count)
        for (i, letter) in one.enumerated() {
            var next = [i + 1]
            for (j, counterpart) in other.enumerated() {
                var best = min(row[j] + (letter == counterpart ? 0 : 1), next[j] + 1, row[j + 1] + 1)
                if i > 0, j > 0, letter == other[j - 1], counterpart == one[i - 1] {
                    best = min(best, before[j - 1] + 1)
                }
                next.append(best)
            }
            (before, row) = (row, next)
        }
        return row[other.count]
    }
}
