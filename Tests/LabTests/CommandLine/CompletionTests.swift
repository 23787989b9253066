import Lab
import Testing

/// What a shell offers for the words of a command line.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct CompletionTests {
    /// What bash offers for the last of some words.
    private func offers(_ lab: CommandLineLab, _ words: String...) throws -> [String] {
        let list = words.map { "'\($0)'" }.joined(separator: " ")
        // Bash passes the word before as well.
        let before = words.dropLast().last ?? "fdbsteer"
        let script =
            "source <(\(CommandLineLab.binary) --generate-completion-script bash); "
            + "COMP_WORDS=(fdbsteer \(list)); COMP_CWORD=\(words.count); COMP_LINE=\"${COMP_WORDS[*]}\"; "
            + "COMP_POINT=${#COMP_LINE}; PATH=\(CommandLineLab.products):$PATH; _fdbsteer fdbsteer '\(words.last ?? "")' '\(before)'; "
            + "printf '%s\\n' \"${COMPREPLY[@]}\""
        let command = try Command.run(["bash", "-c", script], environment: ["FDBSTEER_STATE": lab.state])
        return command.output.split(separator: "\n").map(String.init).sorted()
    }

    @Test func bashKnowsVerbsGuestsAndCodes() throws {
        try CommandLineLab.run { lab in
            try lab.prepare()
            #expect(try offers(lab, "stat").contains("status"))
            #expect(try offers(lab, "status", "").contains("vm1"))
            #expect(try offers(lab, "switch", "v") == ["vm1"])
            #expect(try offers(lab, "switch", "vm1", "--to", "st").contains("standby"))
            #expect(try offers(lab, "switch", "vm1", "--waive", "mtu").contains("mtu-smaller"))
        }
    }
}
