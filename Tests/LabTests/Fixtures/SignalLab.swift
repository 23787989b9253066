import Glibc
import Lab

extension CommandLineLab {
    /// Starts `fdbsteer switch vm1 --to standby --until SIGNAL`, and returns when the journal shows that it waits.
    func startWaiting(_ signals: String..., timeout: String = "60s") throws -> RunningCommand {
        var words = ["switch", "vm1", "--to", "standby", "--timeout", timeout]
        for signal in signals { words += ["--until", signal] }
        let running = try RunningCommand([CommandLineLab.binary] + words, environment: ["FDBSTEER_STATE": state])
        try waitUntil { try isWaiting() }
        return running
    }

    /// Whether the journal shows that the guest's redirection waits, and its process lives.
    func isWaiting() throws -> Bool {
        let status = try fdbsteer("status vm1 --json").output
        return status.contains("\"phase\" : \"waiting\"") && status.contains("\"running\" : true")
    }

    /// Polls a condition until it is true, for at most a minute.
    func waitUntil(_ isSo: () throws -> Bool) throws {
        for _ in 0..<6000 {
            if try isSo() { return }
            usleep(10_000)
        }
        throw LabError("it did not come about within a minute")
    }

    /// The port of the guest's entry.
    func port() throws -> String? {
        try lab.entry(CommandLineLab.mac)?.split(separator: " ").dropFirst(2).first.map(String.init)
    }

    /// Writes an executable script into the state folder.
    func script(_ name: String, _ lines: String) throws -> String {
        let path = state + "/" + name
        try TextFile.write("#!/bin/sh\n" + lines + "\n", to: path, mode: 0o700)
        return path
    }
}
