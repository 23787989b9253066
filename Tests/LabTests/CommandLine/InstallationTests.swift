import Glibc
import Lab
import Testing

/// What scripts/install puts where, and the manual pages that scripts/manual makes of the programs' help and docs/.
struct InstallationTests {
    /// A page without its formatting.
    private static func plain(_ page: String) -> String {
        page.replacing(/\\f[BIP]/, with: "").replacing("\\-", with: "-").replacing("\\(aq", with: "'")
            .replacing("\\(ti", with: "~").replacing("\\(ha", with: "^").replacing("\\(ga", with: "`")
            .replacing("\\&", with: "").replacing("\\e", with: "\\")
    }

    private static func manual(_ body: (String) throws -> Void) throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let made = try Command.run([Checkout.path + "/scripts/manual", CommandLineLab.products, folder.path])
        try #require(made.exitCode == 0, "\(made.errors)")
        try body(folder.path)
    }

    private static func help(_ words: [String]) throws -> String {
        try Command.run([CommandLineLab.products + "/" + words[0]] + words.dropFirst() + ["--help"]).output
    }

    /// The names in a part of a help text, as `--to` or `switch`: what follows two spaces and a blank line ends.
    private static func names(in help: String, below heading: String) -> [String] {
        guard let part = help.split(separator: "\n\(heading):\n", maxSplits: 1).dropFirst().first else { return [] }
        return part.split(separator: "\n", omittingEmptySubsequences: false)
            .prefix { !$0.isEmpty }.compactMap { line in
                line.firstMatch(of: /^ {2}(?:-[a-zA-Z], )?([^ ]+)/).map { String($0.1) }
            }
    }

    /// The verbs of a program, with those below them.
    private static func verbs(of words: [String]) throws -> [[String]] {
        try names(in: try help(words), below: "SUBCOMMANDS").flatMap { name in
            try [words + [name]] + verbs(of: words + [name])
        }
    }

    @Test(arguments: ["fdbsteer": "8", "fdbsteerd": "8", "fdbsteer-bench": "1"])
    func aPageHasWhatTheHelpHas(program: String, section: String) throws {
        try Self.manual { folder in
            let page = Self.plain(TextFile.read("\(folder)/\(program).\(section)"))
            let empty = page.firstMatch(of: /\n\.S[HS] [^\n]*\n\.SH\s/).map { String($0.0) }
            #expect(empty == nil)
            let verbs = try Self.verbs(of: [program])
            #expect(verbs.isEmpty == (program == "fdbsteerd"))
            // A verb's part of the page, by its heading.
            var parts: [String: Substring] = [:]
            for part in page.split(separator: "\n.SS ").dropFirst() {
                parts[String(part.prefix { $0 != "\n" })] = part.split(separator: "\n.SH ", maxSplits: 1)[0]
            }
            for words in verbs {
                let name = words.joined(separator: " ")
                let part = try #require(parts[name], "\(program).\(section) has no \(name)")
                let help = try Self.help(words)
                let options = Self.names(in: help, below: "OPTIONS").filter { $0 != "--version" && $0 != "--help" }
                let described = part.split(separator: "\n.TP\n").dropFirst().compactMap { term in
                    term.firstMatch(of: /^(?:-[a-zA-Z], )?(--[^ \n,]+)/).map { String($0.1) }
                }
                #expect(described == options, "\(name)")
                for value in help.matches(of: /\((?:values: [^()]+;\s+)?default:\s+([^()]+)\)/) {
                    #expect(part.contains("Default: \(value.1.replacing(/\s+/, with: " "))."), "\(name): \(value.1)")
                }
            }
            #expect(parts.keys.filter { $0.hasPrefix(program + " ") }.count == verbs.count)
            let codes = try Self.help([program]).firstMatch(of: /Exit codes: ([^.]*)\./)?.1.split(separator: ";") ?? []
            let listed = codes.compactMap { $0.firstMatch(of: /\d+/).map { String($0.0) } }
            let exits = page.split(separator: "\n.SH EXIT STATUS\n").dropFirst().first?.split(separator: "\n.SH ")[0]
            let described = (exits ?? "").matches(of: /\.TP\n(\d+)\n/).map { String($0.1) }
            #expect(described == listed)
            #expect(listed.isEmpty == (program == "fdbsteer-bench"))
        }
    }

    /// A page in which a heading or a table of the document got lost would have less of them.
    @Test(arguments: ["fdbsteerd.toml.5": "configuration", "fdbsteer-signals.7": "signals", "fdbsteerd.8": "daemon"])
    func aPageHasWhatItsDocumentHas(page: String, document: String) throws {
        try Self.manual { folder in
            let page = Self.plain(TextFile.read("\(folder)/\(page)"))
            let document = TextFile.read("\(Checkout.path)/docs/\(document).md")
            for line in document.split(separator: "\n") where line.hasPrefix("## ") {
                let heading = line.dropFirst(3).filter { $0 != "`" }
                let title = line.contains("`") ? heading : heading.uppercased()
                #expect(page.contains("\n.SH \(title)\n"), "\(title)")
            }
            let rows = document.matches(of: /(?m)^\| (?!-)/).count - document.matches(of: /(?m)^\|-/).count
            #expect(page.matches(of: /(?m)^\.TP$/).count >= rows && rows > 0)
        }
    }

    @Test func whatIsInstalledCanBeRemoved() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let environment = ["FDBSTEER_BIN": CommandLineLab.products, "DESTDIR": folder.path]
        func install(_ words: String...) throws {
            let run = try Command.run([Checkout.path + "/scripts/install"] + words, environment: environment)
            #expect(run.exitCode == 0, "\(run.errors)")
        }
        func files() throws -> [Substring] {
            try Command.run(["find", folder.path, "-mindepth", "1", "!", "-type", "d"]).output.split(separator: "\n")
        }
        try install()
        for file in ["usr/sbin/fdbsteerd", "usr/share/man/man8/fdbsteer.8", "usr/lib/systemd/system/fdbsteerd.service"]
        {
            #expect(access("\(folder.path)/\(file)", R_OK) == 0, "\(file)")
        }
        // Links between the documents lead somewhere.
        let documents = try files().filter { $0.hasSuffix(".md") }
        #expect(documents.count > 20)
        for document in documents {
            for link in TextFile.read(String(document)).matches(of: /\]\(([^)#:]+)(?:#[^)]*)?\)/) {
                let place = document.prefix(upTo: document.lastIndex(of: "/") ?? document.endIndex) + "/" + link.1
                #expect(access(String(place), R_OK) == 0, "\(document): \(link.1)")
            }
        }
        let configuration = folder.path + "/etc/fdbsteer/fdbsteerd.toml"
        try TextFile.write("[daemon]\n", to: configuration)
        try install()
        #expect(TextFile.read(configuration) == "[daemon]\n")
        try install("--uninstall")
        #expect(try files() == [Substring(configuration)], "a changed configuration stays")
    }

    /// What the removal of a package prints for guests that are prepared does what `release` would.
    @Test(.enabled(if: obstacle == nil, "\(obstacle ?? "")"))
    func theCommandsThatGiveBackDoWithoutFdbsteer() throws {
        try CommandLineLab.run { lab in
            try Command.script("bridge fdb add \(CommandLineLab.mac) dev vfrep0 master static")
            let before = try lab.table()
            let script = Checkout.path + "/packaging/give-back"
            let environment = ["FDBSTEER_STATE": lab.state, "FDBSTEER": CommandLineLab.binary]
            let silent = try Command.run([script], environment: environment).output
            #expect(silent.isEmpty)
            try lab.prepare()
            #expect(try lab.table() != before)
            let said = try Command.run([script], environment: environment).output
            #expect(said.hasPrefix("Prepared guests, with records in \(lab.state): vm1.\n"), "\(said)")
            let commands = said.split(separator: "\n").filter { line in
                ["bridge ", "nft ", "rm "].contains { line.hasPrefix($0) }
            }
            for command in commands.dropLast() { try Command.script(String(command)) }
            #expect(try lab.table() == before, "\(said)")
            #expect(commands.last?.hasPrefix("rm -r \(lab.state) ") == true)
        }
    }
}
