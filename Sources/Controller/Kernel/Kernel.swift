import FDB
import Netlink
import Policy
import Switchdev
import System

/// What this program asks and tells the kernel: the only place where a netlink error becomes the program's.
///
/// It owns the command socket, and belongs to the thread that made it and to that thread's network namespace.
package struct Kernel: ~Copyable {
    var socket: CommandSocket
    /// The kernel was seen to accept changes.
    private var isPrivileged = false
    /// The groups of bridges; opened when they are first needed.
    var groupWatch: GroupWatch?
    /// The size of its receive buffer, in bytes.
    var groupBuffer: Int32 = 8 << 20
    /// Why a guest's addresses could not be guarded.
    var guardRefusal: String?
    /// Why a port could not be locked.
    var lockRefusal: String?

    /// - Throws: ``ControllerError`` of code `precondition` when no netlink socket can be had.
    init() throws(ControllerError) {
        let socket: CommandSocket
        do throws(NetlinkError) {
            socket = try CommandSocket()
        } catch {
            throw ControllerError(.precondition, "no connection to the kernel", cause: error)
        }
        self.socket = socket
    }

    /// Makes sure that the kernel will accept changes from this process, by a request that it refuses either way.
    ///
    /// An RTM_NEWNEIGH for interface index 0 is EINVAL for the privileged and EPERM for others
    /// (`rtnetlink_rcv_msg`, net/core/rtnetlink.c).
    mutating func requirePrivilege() throws(ControllerError) {
        if isPrivileged { return }
        guard let address = try? Address(mac: MACAddress(value: 0x0200_0000_0001)) else { return }
        let harmless = EntryRequest.set(address, port: 0, state: .noARP, flags: .replace)
        let answers = socket.perform(count: 1) { (_, writer, sequence) in
            harmless.append(to: &writer, sequence: sequence)
        }
        guard let refusal = answers[0] else { return }
        if refusal.errno == .notPermitted {
            throw ControllerError(
                .precondition, "the kernel does not let this process change bridge entries; nothing was changed",
                remedy:
                    "it needs CAP_NET_ADMIN in the user namespace that owns this network namespace: run as root, or "
                    + "inside unshare -Urn",
                cause: KernelRefusal(refusal), reasons: [ControllerError.unprivileged])
        }
        isPrivileged = true
    }

    /// Why this process does not see what only who may change bridges sees, in words.
    static let unprivileged = "that takes CAP_NET_ADMIN (run as root)"

    // MARK: - Telling

    /// Sends entry changes together.
    mutating func change(_ changes: [EntryChange]) -> Redirection.Event {
        .answered(KernelRefusal.all(Transaction(changes).run(on: &socket)))
    }

    /// Changes a setting of a port of a guest.
    mutating func set(
        _ setting: PortSetting, of port: PortIdentity, for guest: GuestInterface
    ) -> Redirection.Event {
        do throws(NetlinkError) {
            if let request = setting.request(port: port) {
                try socket.perform(request)
                guard case .gate(isShut: true, _) = setting, try !isLocked(port.index) else { return .done }
                // A kernel that does not know the flag passes it over.
                throw NetlinkError(.refused, "the kernel has acknowledged it, but the port is not locked")
            }
            guard case .gate(let isShut, .table) = setting else { return .done }
            try setGate(isShut: isShut, at: port.index, of: guest)
            return .done
        } catch {
            if case .gate(isShut: true, by: .lock) = setting { lockRefusal = "\(port.name): \(error)" }
            return .failed(
                Redirection.Failure("cannot \(setting.words(port: port.name))", cause: KernelRefusal(error)))
        }
    }

    private mutating func isLocked(_ port: Int32) throws(NetlinkError) -> Bool {
        try Links.read([port], using: &socket)[0]?.bridgePort?.flags.contains(.locked) == true
    }

    /// Learns whether hardware, or the guest's frames, have followed a plan.
    ///
    /// - Parameter timeout: how long to wait, in nanoseconds.
    mutating func prove(_ proof: Plan.Proof, of guest: GuestInterface, timeout: Int64) -> OffloadProof {
        switch proof {
        case .none: .nothingToProve
        case .hardware(let task): task.run(timeout: timeout, using: &socket)
        case .filters: FilterCounters.prove(guest, timeout: timeout, using: &socket)
        }
    }
}
