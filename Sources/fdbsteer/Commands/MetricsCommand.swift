import ArgumentParser
import Controller
import Exposition
import Glibc
import Policy
import Records

/// `fdbsteer metrics`.
struct MetricsCommand: GuestlessCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics", abstract: "Print what history and journal amount to, in Prometheus's text format.",
        discussion: """
            For hosts without the daemon: written to a file *.prom in the folder of node_exporter's textfile collector, by a \
            timer. Nothing needs to be prepared; reading changes nothing.
            """)

    @Option(help: "Replace this file, in one step, instead of printing.")
    var output: String?
    @OptionGroup var common: CommonOptions

    static func instead(of guest: String) -> [String] { ["status \(guest)", "metrics --output \(guest)"] }

    func run() {
        let call = common.call
        let page = call.check { () throws(ControllerError) in
            try call.folder.requireNamed()
            var reader = MetricsReader(folder: call.folder)
            return Exposition.render(try reader.read())
        }
        if let output, !common.dryRun {
            call.check { () throws(ControllerError) in try replace(output, by: page) }
        }
        let text = String(decoding: page, as: UTF8.self)
        if common.json {
            Output.json(MetricsView(page: text))
        } else if output == nil {
            Output.text(text)
        }
        call.end(0, reading: output == nil)
    }

    /// Writes a file under another name and renames it, so that no reader sees half of it.
    private func replace(_ path: String, by page: [UInt8]) throws(ControllerError) {
        func failure(_ reason: String) -> ControllerError {
            ControllerError(
                .precondition, "cannot write \(path): \(reason); the file is as before",
                remedy: "name a file in a folder that this user may write")
        }
        var information = stat()
        if stat(path, &information) == 0, information.st_mode & S_IFMT != S_IFREG {
            throw failure("it is not a regular file")
        }
        // Not *.prom, which the collector would read.
        var name = Array("\(path).XXXXXX".utf8CString)
        let file = mkstemp(&name)
        guard file >= 0 else { throw failure(String(cString: strerror(errno))) }
        // The collector runs as another user.
        let isWritten = fchmod(file, 0o644) == 0 && Output.write(page, to: file)
        let reason = errno
        close(file)
        guard isWritten else {
            unlink(name)
            throw failure(String(cString: strerror(reason)))
        }
        guard rename(name, path) == 0 else {
            let reason = errno
            unlink(name)
            throw failure(String(cString: strerror(reason)))
        }
    }
}
