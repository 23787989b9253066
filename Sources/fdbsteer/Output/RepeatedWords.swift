/// The words of the command line, as errors repeat them.
enum RepeatedWords {
    /// Errors repeat so many characters of a word.
    private static let longest = 256

    /// A message that changes no terminal and fills none: its control characters are escaped, and long words of the command line cut.
    static func shown(_ message: String) -> String {
        func isOdd(_ word: String) -> Bool { word.utf8.count > longest || word.contains("\n") }
        var message = message
        for word in CommandLine.arguments.dropFirst() where isOdd(word) {
            // Of a list, or of an option with its value, a part is repeated too.
            for part in [word] + word.split(whereSeparator: { $0 == "," || $0 == "=" }).map(String.init)
            where isOdd(part) {
                let more = part.count - longest
                let short = part.prefix(longest) + (more > 0 ? "... (\(more) more characters)" : "")
                message = message.replacing(part, with: short.replacing("\n", with: "\\n"))
            }
        }
        return message.unicodeScalars.reduce(into: "") { text, scalar in
            // Newlines are those of the program's own lines now. Format characters turn the direction of what follows.
            let isControl = [.control, .format].contains(scalar.properties.generalCategory) && scalar != "\n"
            text += isControl ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
        }
    }
}
