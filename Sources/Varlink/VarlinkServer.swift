import CNetlink
import Glibc
package import Policy
package import Records
import Synchronization
package import System

/// The local API: the verbs for programs, by Varlink on a socket of the file system (docs/varlink.md).
///
/// Each connection has a thread. A verb blocks its thread anyway, and a ``Host`` belongs to one: so no verb waits for another's
/// hardware or signal, the daemon's loop waits for none, and a client that goes away is noticed by the thread that works for it.
package final class VarlinkServer: Sendable {
    /// Where it listens.
    package let path: String
    private let listener: Int32
    /// Readable when the listener may have lost its name; negative for one that another program keeps.
    private let names: Int32
    /// Readable once the server ends.
    private let stopping: Int32
    /// Closed once the server ends.
    private let alive: Int32
    /// Another program made the socket, and keeps it.
    private let isInherited: Bool
    private let limits: ClientLimits
    private let folder: StateFolder
    private let hosts: Hosts
    private let unread = Unread()
    private let open = Mutex(Open())

    /// The open connections.
    private struct Open {
        var count = 0
        var byUser: [uid_t: Int] = [:]
    }

    /// Of the connections one user other than root may have so many quarters: the rest is for others.
    private static let quartersForOne = 3

    /// Listens, and starts the thread that takes connections.
    ///
    /// - Parameters:
    ///   - folder: the journal's; `io.fdbsteer` in it is the socket.
    ///   - inherited: a listening socket that the service manager has made (``ServiceSockets``); nil to make one.
    ///   - limits: for clients.
    /// - Throws: ``ControllerError`` of code `precondition` when it cannot listen.
    package static func start(
        _ folder: StateFolder, inherited: Int32? = nil, limits: ClientLimits = ClientLimits()
    ) throws(ControllerError) -> VarlinkServer {
        cn_give_back_memory()
        let path = folder.path + "/io.fdbsteer"
        var ends: [Int32] = [-1, -1]
        do throws(SystemError) {
            let failure = cn_pipe(&ends)
            if failure != 0 { throw SystemError("cannot make a pipe", errno: -failure) }
            let listener = if let inherited { inherited } else { try LocalSocket.listen(at: path) }
            let server = VarlinkServer(
                path: path, listener: listener, ends: ends, isInherited: inherited != nil, limits: limits,
                folder: folder)
            try BackgroundThread.start { server.accept() }
            return server
        } catch {
            throw ControllerError(
                .precondition, "cannot listen on \(path): \(error)",
                remedy: "name a folder with a shorter path that this user may write in")
        }
    }

    private init(
        path: String, listener: Int32, ends: [Int32], isInherited: Bool, limits: ClientLimits, folder: StateFolder
    ) {
        self.path = path
        self.listener = listener
        names = isInherited ? -1 : LocalSocket.watchName(path)
        stopping = ends[0]
        alive = ends[1]
        self.isInherited = isInherited
        self.limits = limits
        self.folder = folder
        hosts = Hosts(folder)
    }

    /// Stops listening, ends waits and streams, and waits until the verbs that are under way have ended, but not forever.
    package func stop() {
        close(alive)
        if !isInherited { unlink(path) }
        for _ in 0..<1000 where open.withLock({ $0.count }) > 0 { sleepNanoseconds(10_000_000) }
    }

    // MARK: - Connections

    /// Between two attempts to make a socket again that was removed, in milliseconds: `/run` may be full.
    private static let missingPause: Int32 = 1000

    private func accept() {
        VarlinkServer.lowerPriority()
        var listener = self.listener
        var isMissing = names >= 0 && LocalSocket.isMissing(path)
        while true {
            var polled = [listener, stopping, names].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            poll(&polled, 3, isMissing ? VarlinkServer.missingPause : -1)
            if polled[1].revents != 0 { break }
            if polled[0].revents != 0 { _ = take(from: listener) }
            guard isMissing || polled[2].revents != 0 else { continue }
            if let again = LocalSocket.listenAgain(at: path, names) {
                // Who has connected to the one that was removed is answered.
                while take(from: listener) {}
                close(listener)
                listener = again
            }
            isMissing = LocalSocket.isMissing(path)
        }
        // Who connects from now on is refused by the kernel.
        close(listener)
        if names >= 0 { close(names) }
    }

    /// - Returns: whether there was a connection to take.
    private func take(from listener: Int32) -> Bool {
        let client = cn_accept(listener)
        guard client >= 0 else {
            // No descriptor is left, perhaps: others may close some.
            if ![-EAGAIN, -EINTR, -ECONNABORTED].contains(client) { sleepNanoseconds(100_000_000) }
            return false
        }
        if let connection = Connection(client, limits: limits, unread: unread, stop: stopping) { begin(connection) }
        return true
    }

    private func begin(_ connection: Connection) {
        let user = connection.peer.user
        let isTaken = open.withLock { open in
            let most = user == 0 ? limits.connections : limits.connections * VarlinkServer.quartersForOne / 4
            guard open.count < limits.connections, open.byUser[user, default: 0] < max(1, most) else { return false }
            open.count += 1
            open.byUser[user, default: 0] += 1
            return true
        }
        guard isTaken else {
            _ = connection.send(Reply.bytes(Service.tooMany))
            return
        }
        let box = Handover(connection)
        do throws(SystemError) {
            try BackgroundThread.start { [self] in
                Service(box.connection, folder: folder, hosts: hosts, stopping: stopping).run()
                end(user)
            }
        } catch {
            end(user)
        }
    }

    private func end(_ user: uid_t) {
        open.withLock { open in
            open.count -= 1
            open.byUser[user, default: 1] -= 1
            if open.byUser[user] == 0 { open.byUser[user] = nil }
        }
    }

    /// A flood of calls must not delay the loop that redirects guests: the calling thread, and those that it starts, have the priority
    /// of an ordinary command under the unit, which raises the daemon's, and 10 less elsewhere.
    private static func lowerPriority() {
        let process = __priority_which_t(PRIO_PROCESS.rawValue)
        // A thread of a daemon in real time begins at 0 (SCHED_RESET_ON_FORK).
        let own = getpriority(process, id_t(getpid()))
        _ = setpriority(process, 0, own < 0 ? 0 : min(19, own + 10))
    }
}

/// A connection on its way to the thread that it belongs to from then on.
private final class Handover: @unchecked Sendable {
    let connection: Connection
    init(_ connection: Connection) { self.connection = connection }
}
