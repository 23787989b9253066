import Glibc

/// A host of an ``EVPNLab`` with the fdbsteer and fdbsteerd of a folder; used on one thread.
package final class EVPNHost {
    package let lab: EVPNLab.Host
    private let programs: String
    private let state: String
    private var daemon: SupervisedProcess?

    /// - Parameters:
    ///   - programs: the folder of the programs.
    ///   - state: the folder of the guests' records, of the daemon's configuration and of its log.
    /// - Throws: ``LabError``.
    package init(_ lab: EVPNLab.Host, programs: String, state: String) throws {
        self.lab = lab
        self.programs = programs
        self.state = state
        try TextFile.write("[metrics]\nlisten = \"off\"\n", to: state + "/fdbsteerd.toml")
    }

    /// Runs `fdbsteer` with arguments without spaces.
    ///
    /// - Throws: ``LabError`` for an exit code that is not expected.
    @discardableResult
    package func fdbsteer(_ arguments: String, expecting codes: Set<Int32> = [0]) throws -> Command {
        let words = [programs + "/fdbsteer"] + arguments.split(separator: " ").map(String.init)
        let environment = ["FDBSTEER_STATE": state]
        let ended = try lab.namespace.run { try Command.run(words, environment: environment) }
        guard codes.contains(ended.exitCode) else {
            throw LabError("\(arguments) on \(lab.name): \(ended.exitCode): \(ended.errors)\(ended.output)")
        }
        return ended
    }

    /// Prepares a guest with one address.
    ///
    /// - Throws: ``LabError``.
    package func prepare(_ guest: String, _ mac: String, at side: String) throws {
        try fdbsteer(
            "prepare \(guest) --bridge \(lab.bridge) --primary \(lab.primary) --standby \(lab.standby) "
                + "--uplink \(lab.uplink) --address \(mac) --at \(side)")
    }

    /// Starts fdbsteerd, and waits until it watches its guests.
    ///
    /// - Throws: ``LabError``.
    package func startDaemon() throws {
        let words = [programs + "/fdbsteerd", "--config", state + "/fdbsteerd.toml", "--state", state]
        let file = state + "/log"
        daemon = try lab.namespace.run { try SupervisedProcess(words, output: file) }
        for _ in 0..<1000 {
            if log.contains("msg=watching") { return }
            usleep(5000)
        }
        throw LabError("fdbsteerd on \(lab.name) did not begin to watch, but said:\n\(log)")
    }

    /// Kills the daemon.
    package func endDaemon() {
        daemon?.end()
        daemon = nil
    }

    /// What the daemon that was started last has logged.
    package var log: String { TextFile.read(state + "/log") }

    /// Runs a script in the host's namespace.
    ///
    /// - Throws: ``LabError`` for a command that fails.
    package func script(_ lines: String) throws { try lab.namespace.run { try Command.script(lines) } }
}
