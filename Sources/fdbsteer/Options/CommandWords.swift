import ArgumentParser
import Policy
import System

/// The words of a command line before the parser gets them.
struct CommandWords {
    /// In the order that the parser expects: the verb first.
    private(set) var words: [String]
    /// The verb, which may have two words: `probe mac-filter`; empty where none is named.
    private(set) var verb = ""
    /// Its command.
    private var command: any ParsableCommand.Type = FDBSteer.self

    /// - Parameter arguments: without the program's name.
    /// - Throws: ``ControllerError`` of code `usage` for a verb that there is not.
    init(_ arguments: some Sequence<String>) throws(ControllerError) {
        words = CommandWords.joiningAddresses(CommandWords.joiningNumbers(arguments))
        if words.first == "-V" { words[0] = "--version" }
        try putVerb(of: FDBSteer.self, at: 0)
    }

    /// Whether the caller wants JSON, whatever is wrong with the rest.
    static func wantsJSON(_ arguments: some Sequence<String>) -> Bool {
        arguments.prefix { $0 != "--" }.contains { $0 == "--json" || $0 == "-j" }
    }

    /// Options that every verb has.
    private static let common = ["-j", "--json", "-n", "--dry-run", "-jn", "-nj", "--state"]

    /// Options may stand before the verb, as of `ip` and `bridge`: the first word that is a verb, and no option's value, is it.
    ///
    /// - Parameter place: where the parser expects it.
    private mutating func putVerb(of command: any ParsableCommand.Type, at place: Int) throws(ControllerError) {
        let commands = command.configuration.subcommands
        guard !commands.isEmpty, place < words.count else { return }
        let names = commands.compactMap { $0.configuration.commandName }
        var plain: [Int] = []
        var hasOthers = false
        var index = place
        while index < words.count, words[index] != "--" {
            let word = words[index]
            if !word.hasPrefix("-") { plain.append(index) }
            if plain.isEmpty, !CommandWords.common.contains(word), !word.hasPrefix("--state=") { hasOthers = true }
            index += word == "--state" ? 2 : 1
        }
        if let first = plain.first, words[first] == "help" {
            if plain.count > 1, !names.contains(words[plain[1]]) { throw unknownVerb([words[plain[1]]], names) }
            return
        }
        let isFirst = plain.first == place
        guard let found = isFirst ? place : plain.first(where: { names.contains(words[$0]) }),
            names.contains(words[found])
        else {
            // An option that only some verbs have, or the parser itself, is the parser's to judge.
            if isFirst || !hasOthers { throw unknownVerb(plain.map { words[$0] }, names) }
            return
        }
        words.insert(words.remove(at: found), at: place)
        verb = words[...place].joined(separator: " ")
        guard let next = commands.first(where: { $0.configuration.commandName == words[place] }) else { return }
        self.command = next
        try putVerb(of: next, at: place + 1)
    }

    /// - Parameter plain: the words that are no options, one of which was meant.
    private func unknownVerb(_ plain: [String], _ names: [String]) -> ControllerError {
        let before = verb.isEmpty ? "" : verb + " "
        let known = names.map { before + $0 }.joined(separator: ", ")
        let meant = plain.lazy.compactMap { word in Nearest.word(to: word, in: names).map { (word, $0) } }.first
        guard let word = meant?.0 ?? plain.first else {
            return ControllerError(
                .usage, "no verb of \"fdbsteer \(before)...\" is named", remedy: "the verbs are \(known)")
        }
        return ControllerError(
            .usage, "there is no verb \"\(before)\(word)\"",
            remedy: (meant.map { "did you mean \"fdbsteer \(before)\($0.1)\"? " } ?? "") + "the verbs are \(known)")
    }

    /// Parses the words.
    ///
    /// - Throws: what the parser throws; a ``ControllerError`` where several are missing, with all of them, for words that have no
    ///   place or are empty, and for an option that is given again.
    func parsed() throws -> any ParsableCommand {
        if words.contains(where: { $0.isEmpty || $0.hasSuffix("=") }) || repeatsOptions { try requireValues() }
        do { return try FDBSteer.parseAsRoot(words) } catch {
            if let surplus = surplus(FDBSteer.message(for: error)) { throw surplus }
            let missing = missing(error)
            let unread = words.drop { $0 != "--" }.first { $0.hasPrefix("-") && $0 != "--" }
            guard missing.count > 1 || (missing.count == 1 && unread != nil) else { throw error }
            throw ControllerError(
                .usage, "missing: " + missing.joined(separator: "; "),
                remedy: (unread.map { "\"\($0)\" is no option, as it stands after \"--\"; " } ?? "")
                    + "\"fdbsteer help \(verb)\" shows what each is")
        }
    }

    /// The words that are read as options, without their values.
    private var options: [Substring] {
        words.prefix { $0 != "--" }.filter { $0.hasPrefix("--") }.map { $0.prefix { $0 != "=" } }
    }

    private var repeatsOptions: Bool { Set(options).count < options.count }

    /// The words after the verb.
    private var rest: ArraySlice<String> { words.dropFirst(verb.split(separator: " ").count) }

    /// - Throws: ``ControllerError`` for an empty value, and for an option with one value that is given again: the parser would pass
    ///   over the first.
    private func requireValues() throws(ControllerError) {
        let arguments = VerbArguments(of: command)
        let help = "\"fdbsteer help \(verb)\" shows what it takes"
        var seen: [Substring: Substring] = [:]
        for (word, value) in arguments.values(in: rest) {
            let what = word.isEmpty ? "\"fdbsteer \(verb)\"" : String(word)
            if value.isEmpty { throw ControllerError(.usage, "\(what) was given an empty word", remedy: help) }
            guard arguments.options[String(word)] == false else { continue }
            if let before = seen.updateValue(value, forKey: word) {
                throw ControllerError(
                    .usage, "\(word) is given twice, as \"\(before)\" and as \"\(value)\": it takes one value",
                    remedy: help)
            }
        }
    }

    /// Words that the verb has no place for.
    ///
    /// - Parameter message: the parser's.
    /// - Returns: nil where that is not what is wrong.
    private func surplus(_ message: String) -> ControllerError? {
        let beginning = /(Unexpected argument|\d+ unexpected arguments:) '/
        guard !verb.isEmpty, message.prefixMatch(of: beginning) != nil else { return nil }
        let arguments = VerbArguments(of: command)
        guard let room = arguments.room else { return nil }
        let surplus = arguments.values(in: rest).filter(\.option.isEmpty).dropFirst(room).map { String($0.value) }
        guard let first = surplus.first else { return nil }
        let names = arguments.names
        let takes = names.isEmpty ? "options alone" : names.joined(separator: " ") + " and options"
        let guest = try? GuestID(first)
        let instead = guest.flatMap { (command as? any GuestlessCommand.Type)?.instead(of: $0.text) } ?? []
        let meant =
            instead.isEmpty
            ? "" : "did you mean " + instead.map { "\"fdbsteer \($0)\"" }.joined(separator: " or ") + "? "
        return ControllerError(
            .usage,
            "\"fdbsteer \(verb)\" takes \(takes): \(surplus.map { "\"\($0)\"" }.joined(separator: ", ")) is too much",
            remedy: "\(meant)\"fdbsteer help \(verb)\" shows what it takes")
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
            let option = String(name.prefix { $0 != " " })
            guard let next = fill(&filled, option.hasPrefix("--") ? option : nil) else { break }
            error = next
        }
        return missing
    }

    /// Gives a missing argument a value that the parser takes.
    ///
    /// - Returns: what is wrong then beside that value; nil for nothing.
    private func fill(_ words: inout [String], _ option: String?) -> (any Error)? {
        let before = words
        // Behind "--" no option is read.
        let place = option == nil ? words.endIndex : words.firstIndex(of: "--") ?? words.endIndex
        for value in ["x", "1", Side.primary.rawValue] {
            words = before
            words.insert(contentsOf: [option, value].compactMap { $0 }, at: place)
            do {
                _ = try FDBSteer.parseAsRoot(words)
                return nil
            } catch {
                if !FDBSteer.message(for: error).hasPrefix("The value '\(value)' is invalid") { return error }
            }
        }
        return nil
    }

    /// The same arguments with "--limit=-1" for "--limit" and "-1", which the parser takes for an option.
    private static func joiningNumbers(_ arguments: some Sequence<String>) -> [String] {
        var joined: [String] = []
        for word in arguments {
            if word.first == "-", word.dropFirst().first?.isNumber == true, let option = joined.last,
                option.hasPrefix("--"),
                option != "--", !option.contains("=")
            {
                joined[joined.count - 1] += "=" + word
            } else {
                joined.append(word)
            }
        }
        return joined
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

/// A verb that is for no guest, where others do the like for one.
protocol GuestlessCommand: ParsableCommand {
    /// What may be meant by a guest's name after it, without the program's name.
    static func instead(of guest: String) -> [String]
}
