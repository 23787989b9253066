import ArgumentParser
import Policy
import System

/// The words of a command line before the parser gets them.
struct CommandWords {
    /// In the order that the parser expects: the verb first.
    private(set) var words: [String]

    /// - Parameter arguments: without the program's name.
    /// - Throws: ``ControllerError`` of code `usage` for a verb that there is not.
    init(_ arguments: some Sequence<String>) throws(ControllerError) {
        words = CommandWords.joiningAddresses(arguments)
        if words.first == "-V" { words[0] = "--version" }
        putVerbFirst()
        try checkVerb()
    }

    /// Whether the caller wants JSON, whatever is wrong with the rest.
    static func wantsJSON(_ arguments: some Sequence<String>) -> Bool {
        arguments.prefix { $0 != "--" }.contains { $0 == "--json" || $0 == "-j" }
    }

    private static let verbs = FDBSteer.configuration.subcommands.compactMap { $0.configuration.commandName }

    /// Options may stand before the verb, as of `ip` and `bridge`: the first word that is a verb, and no option's value, is it.
    private mutating func putVerbFirst() {
        guard words.first?.hasPrefix("-") == true else { return }
        var place = 0
        while place < words.count, words[place].hasPrefix("-") || !CommandWords.verbs.contains(words[place]) {
            if words[place] == "--" { return }
            place += words[place] == "--state" ? 2 : 1
        }
        guard place < words.count else { return }
        // A verb of two words: probe mac-filter.
        let isLong = words[place] == ProbeCommand.configuration.commandName && place + 1 < words.count
        let verb = Array(words[place...(isLong ? place + 1 : place)])
        words = verb + words[..<place] + words[(place + verb.count)...]
    }

    /// What shows the options of the verb; of all verbs where it is none.
    var helpCommand: String {
        guard let verb = words.first, CommandWords.verbs.contains(verb) else { return "fdbsteer help" }
        return "fdbsteer help \(verb)"
    }

    private func checkVerb() throws(ControllerError) {
        // Help about a verb that there is not is none.
        let named = words.first == "help" ? words.dropFirst().first : words.first
        guard let verb = named, !verb.hasPrefix("-"), verb != "help", !CommandWords.verbs.contains(verb) else { return }
        let meant = Nearest.word(to: verb, in: CommandWords.verbs).map { "did you mean \"fdbsteer \($0)\"? " } ?? ""
        throw ControllerError(
            .usage, "there is no verb \"\(verb)\"",
            remedy: meant + "the verbs are " + CommandWords.verbs.joined(separator: ", "))
    }

    /// Parses the words.
    ///
    /// - Throws: what the parser throws; a ``ControllerError`` where several are missing, with all of them.
    func parsed() throws -> any ParsableCommand {
        do { return try FDBSteer.parseAsRoot(words) } catch {
            let missing = missing(error)
            guard missing.count > 1 else { throw error }
            throw ControllerError(
                .usage, "missing: " + missing.joined(separator: "; "),
                remedy: "\"\(helpCommand)\" shows what each is")
        }
    }

    /// How the parser begins when something is missing.
    private static let beginning = "Missing expected argument '"

    /// What a command line misses, in the parser's words for each. The parser names the first alone: with a value for it, it names the
    /// next one.
    private func missing(_ error: any Error) -> [String] {
        var (missing, filled, error): ([String], [String], any Error) = ([], words, error)
        while missing.count < 8 {
            let message = FDBSteer.message(for: error)
            guard message.hasPrefix(CommandWords.beginning) else {
                // What is only found out with all of them there.
                if !missing.isEmpty, FDBSteer.exitCode(for: error) == .validationFailure { missing.append(message) }
                break
            }
            let name = message.dropFirst(CommandWords.beginning.count).prefix { $0 != "'" }
            missing.append(name.hasSuffix(" ...") ? String(name.dropLast(4)) : String(name))
            let option = name.prefix { $0 != " " }
            filled += option.hasPrefix("--") ? [String(option), option == "--to" ? "primary" : "x"] : ["x"]
            do {
                _ = try FDBSteer.parseAsRoot(filled)
                break
            } catch let next {
                error = next
            }
        }
        return missing
    }

    /// The same arguments with one list of addresses in the place of many options: the parser takes 10 s for 8,000.
    private static func joiningAddresses(_ arguments: some Sequence<String>) -> [String] {
        let option = "--address"
        var joined: [String] = []
        var place: Int?
        var rest = arguments.makeIterator()
        while let word = rest.next() {
            var value: String?
            if word == option {
                guard let next = rest.next() else { return joined + [word] }
                value = next
            } else if word.hasPrefix(option + "=") {
                value = String(word.dropFirst(option.count + 1))
            }
            guard let value, !value.isEmpty, !value.hasPrefix("-") else {
                joined += value == nil ? [word] : [option, value ?? ""]
                if word == "--" {
                    while let word = rest.next() { joined.append(word) }
                }
                continue
            }
            if let place {
                joined[place] += "," + value
            } else {
                joined += [option, value]
                place = joined.count - 1
            }
        }
        return joined
    }
}
