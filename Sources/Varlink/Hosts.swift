import Controller
import Policy
import Records
import Synchronization

/// A host that calls are answered on, one at a time.
final class KeptHost: @unchecked Sendable {
    var host: Host

    init(_ host: consuming Host) { self.host = host }
}

/// The hosts that no call uses: to open a netlink socket, the journal and the groups of a bridge takes as long as a switch.
final class Hosts: Sendable {
    /// The most that are kept: each has 200 KB of buffers, and up to 1 MB of notifications waits for it in the kernel.
    private static let most = 4
    private let folder: StateFolder
    private let idle = Mutex<[KeptHost]>([])

    /// - Parameter folder: the journal's.
    init(_ folder: StateFolder) { self.folder = folder }

    fileprivate func take() throws(ControllerError) -> KeptHost {
        if let kept = idle.withLock({ $0.popLast() }) { return kept }
        return KeptHost(try Host(folder: folder))
    }

    fileprivate func put(_ host: KeptHost) {
        host.host.rest()
        idle.withLock { if $0.count < Hosts.most { $0.append(host) } }
    }
}

/// The host of one call, once it needs one.
final class Lending {
    private let hosts: Hosts
    private var lent: KeptHost?

    init(_ hosts: Hosts) { self.hosts = hosts }

    /// - Throws: ``ControllerError`` of code `precondition` when no netlink socket can be had.
    func host() throws(ControllerError) -> KeptHost {
        if let lent { return lent }
        let host = try hosts.take()
        lent = host
        return host
    }

    /// The call is answered, and its client has the answer.
    func end() {
        guard let host = lent.take() else { return }
        hosts.put(host)
    }
}
