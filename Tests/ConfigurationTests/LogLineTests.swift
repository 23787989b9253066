import Glibc
import Lab
import Testing

/// docs/daemon.md has each line that the daemon logs.
struct LogLineTests {
    @Test func theDocumentationHasEachLineThatTheCodeWrites() throws {
        let folder = Checkout.path + "/Sources/fdbsteerd"
        let files = try Command.run(["find", folder, "-name", "*.swift"]).output.split(separator: "\n")
        let code = files.map { TextFile.read(String($0)) }.joined()
        // log.notice("text"...), log.log(level: ..., "text"...), log.report(report, as: "text"...), and Logger.Message texts.
        var texts: Set<Substring> = []
        for match in code.matches(of: /log\.(?:info|notice|warning|error|critical)\(\s*"([^"\\]+)"/) {
            texts.insert(match.1)
        }
        for match in code.matches(of: /log\.log\(\s*level: [^"]*?"([^"\\]+)"/) { texts.insert(match.1) }
        for match in code.matches(of: /as: "([^"\\]+)"/) { texts.insert(match.1) }
        for match in code.matches(of: /\{ "(answers [a-z ]+)" \}/) { texts.insert(match.1) }
        for match in code.matches(of: /\.warning, "([^"\\]+)"/) { texts.insert(match.1) }
        #expect(texts.count > 30)
        let documentation = TextFile.read(Checkout.path + "/docs/daemon.md")
        for text in texts { #expect(documentation.contains("`\(text)"), "docs/daemon.md says nothing of \"\(text)\"") }
    }
}
