import Configuration
import Policy
import Glibc
import Lab
import Testing

/// The files in the folder `packaging`.
enum Shipped {
    static func path(of name: String) -> String { "\(Checkout.path)/packaging/\(name)" }

    static func text(of name: String) -> String { TextFile.read(path(of: name)) }

    /// The configuration with its keys uncommented.
    static func uncommented(_ text: String, examplesToo: Bool) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            if line.hasPrefix("#!") { return examplesToo ? String(line.dropFirst(2)) : String(line) }
            return line.hasPrefix("#") && !line.hasPrefix("# ") ? String(line.dropFirst()) : String(line)
        }.joined(separator: "\n")
    }

    static let noSystemdAnalyze = Unpacked.obstacle("systemd", programs: ["/usr/bin/systemd-analyze"])

    static func analyze(_ words: String...) throws -> Command {
        try Command.run(Unpacked.command("systemd", ["systemd-analyze"] + words))
    }
}

struct PackagingTests {
    @Test func theShippedConfigurationIsTheDefaults() throws {
        let text = Shipped.text(of: "fdbsteerd.toml")
        #expect(try parse(text) == DaemonConfiguration())
        var wanted = DaemonConfiguration()
        wanted.guests = [.init(id: try GuestID("vm1"))]
        #expect(try parse(Shipped.uncommented(text, examplesToo: false)) == wanted)
    }

    /// Every key is in the file, and in the documentation.
    @Test func theShippedConfigurationHasEveryKey() throws {
        let text = Shipped.uncommented(Shipped.text(of: "fdbsteerd.toml"), examplesToo: true)
        let configuration = try parse(text)
        #expect(configuration.daemon.state != nil)
        #expect(configuration.guests.first?.qmp != nil && configuration.guests.first?.primaryDevice != nil)
        #expect(configuration.guests.contains { $0.domain != nil })
        #expect(configuration.guests.count { $0.preparation != nil } == 2)
        let keys = Set(
            text.split(separator: "\n").filter { !$0.hasPrefix("#") && $0.contains("=") }.map { line in
                String(line.prefix { $0 != "=" }.filter { $0 != " " })
            })
        let documentation = Shipped.text(of: "../docs/configuration.md")
        for key in keys { #expect(documentation.contains("`\(key)`"), "docs/configuration.md says nothing of \(key)") }
        // For a wrong key the reader's error lists the right ones.
        for section in ["daemon", "metrics", "log", "redirection", "bracket", "announce", "libvirt"] {
            let listed = problems("[\(section)]\n\(String(repeating: "z", count: 30)) = 1").joined()
            let names = (listed.split(separator: ";").last ?? "").dropFirst(" there are ".count)
            for name in names.split(separator: ", ") {
                #expect(keys.contains(String(name)), "packaging/fdbsteerd.toml lacks \(section).\(name)")
            }
        }
    }

    @Test(.enabled(if: Shipped.noSystemdAnalyze == nil, "\(Shipped.noSystemdAnalyze ?? "")"))
    func theUnitIsSound() throws {
        let unit = Shipped.path(of: "fdbsteerd.service")
        let verified = try Shipped.analyze("verify", "--man=no", unit)
        // The program is not installed where the tests run.
        let complaints = verified.errors.split(separator: "\n").filter {
            $0.contains("fdbsteerd.service") && !$0.contains("/usr/sbin/fdbsteerd is not executable")
        }
        #expect(complaints.isEmpty, "\(complaints)")
        let security = try Shipped.analyze("security", "--offline=true", "--threshold=30", "--no-pager", unit)
        #expect(security.exitCode == 0, "\(security.output)\(security.errors)")
    }
}
