import ArgumentParser
import JSON

/// What a verb takes, as the parser describes it. The description takes longer than a switch: it is for calls that go wrong.
struct VerbArguments {
    /// The names of what it takes beside options, as its usage has them.
    private(set) var names: [String] = []
    /// How many of these it takes; nil for any number.
    private(set) var room: Int? = 0
    /// The options that have a value, and whether each may be given several times.
    private(set) var options: [String: Bool] = [:]

    init(of command: any ParsableCommand.Type) {
        for argument in JSON(text: command._dumpHelp())?["command"]?["arguments"]?.elements ?? [] {
            let repeats = argument["isRepeating"]?.bool == true
            switch argument["kind"]?.text {
            case "positional":
                let name = "<\(argument["valueName"]?.text ?? "")>" + (repeats ? " ..." : "")
                names.append(argument["isOptional"]?.bool == true ? "[\(name)]" : name)
                room = repeats ? nil : room.map { $0 + 1 }
            case "option":
                for name in argument["names"]?.elements ?? [] where name["kind"]?.text == "long" {
                    options["--" + (name["name"]?.text ?? "")] = repeats
                }
            default: break
            }
        }
    }

    /// The values in the words after the verb, each with its option, which is empty for a word that is no option's.
    func values(in words: some Sequence<String>) -> [(option: Substring, value: Substring)] {
        var values: [(option: Substring, value: Substring)] = []
        var rest = words.makeIterator()
        while let word = rest.next() {
            if word == "--" {
                values += IteratorSequence(rest).map { ("", $0[...]) }
                break
            }
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if !word.hasPrefix("-") {
                values.append(("", word[...]))
            } else if options[String(parts[0])] != nil, let value = parts.count > 1 ? parts[1] : rest.next()?[...] {
                values.append((parts[0], value))
            }
        }
        return values
    }
}
