import FDB
import Glibc
import Lab
import Netlink
import Synchronization
import System

/// One host of the EVPN bench, with its own state folder; used on one thread.
final class EVPNHost {
    let lab: EVPNLab.Host
    private let state: String
    private let binary: String
    private let daemonBinary: String
    private var daemon: SupervisedProcess?

    init(_ lab: EVPNLab.Host, state: String) throws {
        self.lab = lab
        self.state = state
        binary = try OwnProgram.sibling("fdbsteer")
        daemonBinary = try OwnProgram.sibling("fdbsteerd")
        try TextFile.write("[metrics]\nlisten = \"off\"\n", to: state + "/fdbsteerd.toml")
    }

    /// Runs `fdbsteer`, and returns its exit code.
    ///
    /// - Throws: ``LabError`` for a code that is not expected.
    @discardableResult
    func fdbsteer(_ words: [String], expecting codes: Set<Int32> = [0]) throws -> Int32 {
        let (command, environment) = ([binary] + words, ["FDBSTEER_STATE": state])
        let ended = try lab.namespace.run { try Command.run(command, environment: environment) }
        guard codes.contains(ended.exitCode) else {
            throw LabError("\(words.joined(separator: " ")) on \(lab.name): \(ended.errors)\(ended.output)")
        }
        return ended.exitCode
    }

    /// Starts fdbsteerd, and waits until it watches its guests.
    func startDaemon() throws {
        let log = state + "/log"
        let words = [daemonBinary, "--config", state + "/fdbsteerd.toml", "--state", state]
        daemon = try lab.namespace.run { try SupervisedProcess(words, output: log) }
        for _ in 0..<1000 {
            if TextFile.read(log).contains(" watching ") { return }
            usleep(5000)
        }
        throw LabError("fdbsteerd on \(lab.name) did not begin to watch, but said:\n\(TextFile.read(log))")
    }

    func endDaemon() {
        daemon?.end()
        daemon = nil
    }

    /// Runs a script in the host's namespace; nothing is made of its failures.
    func tryScript(_ lines: [String]) {
        for line in lines {
            _ = try? lab.namespace.run { try Command.run(line.split(separator: " ").map(String.init)) }
        }
    }

    /// Changes the entry of a MAC by hand.
    func fdb(_ verb: String, _ mac: String, _ port: String, _ kind: String = "") throws {
        let line = "bridge fdb \(verb) \(mac) dev \(port) master \(kind)"
        try lab.namespace.run { try Command.script(line) }
    }
}

/// Watches a host's bridge until zebra has moved a MAC to the VXLAN port: the host has the new route.
final class RouteWatch: Sendable {
    private let moment = Atomic<Int64>(0)
    private let stop = StopFlag()
    private let thread = Mutex<LabThread?>(nil)

    private static let pause: UInt32 = 500

    /// - Throws: ``LabError``.
    init(_ mac: String, on host: EVPNLab.Host) throws {
        let started = try Namespace.thread { [self] in
            try? host.namespace.run { [self] in try watch(Address(mac), host) }
        }
        thread.withLock { $0 = started }
    }

    private func watch(_ address: Address, _ host: EVPNLab.Host) throws {
        var socket = try CommandSocket()
        guard let bridge = try Interface.index(of: host.bridge), let uplink = try Interface.index(of: host.uplink)
        else { return }
        while !stop.isSet {
            let entry = try Table.read([address], bridge: bridge, using: &socket)[0]
            if entry?.port == uplink, entry?.flags.contains(.externallyLearned) == true {
                moment.store(Stopwatch.realTime, ordering: .releasing)
                return
            }
            usleep(RouteWatch.pause)
        }
    }

    /// Stops watching.
    ///
    /// - Returns: when the route was seen, in nanoseconds of CLOCK_REALTIME; nil if it was not.
    func end() -> Int64? {
        stop.set()
        thread.withLock { $0.take() }?.join()
        let seen = moment.load(ordering: .acquiring)
        return seen == 0 ? nil : seen
    }
}
