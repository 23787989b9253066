import FDB
import Netlink
import Policy
import Records
import Switchdev
import System

/// Puts NICs back as they were before a probe.
struct ProbeRestore {
    let options: VerbOptions

    /// Puts a NIC back as a snapshot says. What is so already is left alone, so that it can be done again.
    ///
    /// - Returns: what could not be put back.
    static func restore(_ snapshot: NICSnapshot, on kernel: inout Kernel) -> [String] {
        var failures: [String] = []
        func attempt(_ body: () throws(ProbeFailure) -> Void) {
            do throws(ProbeFailure) { try body() } catch { failures.append(error.message) }
        }
        attempt { () throws(ProbeFailure) in try removeVLANs(on: &kernel) }
        attempt { () throws(ProbeFailure) in try removeEntry(snapshot, on: &kernel) }
        // Nobody used the VF: when it is bound anew it finds its old MAC.
        attempt { () throws(ProbeFailure) in try release(snapshot.function, keeping: nil) }
        attempt { () throws(ProbeFailure) in try restoreMAC(snapshot.function, snapshot, on: &kernel) }
        attempt { () throws(ProbeFailure) in try restoreDriver(snapshot.function, on: &kernel) }
        if let sibling = snapshot.sibling {
            attempt { () throws(ProbeFailure) in try release(sibling, keeping: sibling.driver) }
            // Drivers of VFs ask the PF's for a MAC of their own, which stays when they are gone (igb).
            attempt { () throws(ProbeFailure) in try restoreMAC(sibling, snapshot, on: &kernel) }
            attempt { () throws(ProbeFailure) in try restoreDriver(sibling, on: &kernel) }
        }
        return failures
    }

    private static func removeVLANs(on kernel: inout Kernel) throws(ProbeFailure) {
        let links = try ProbeFailure.netlink("cannot read the interfaces") { () throws(NetlinkError) in
            try Links.snapshot(using: &kernel.socket)
        }
        for link in links.all where link.kind == "vlan" && link.name.hasPrefix(NICSnapshot.vlanPrefix) {
            try ProbeFailure.netlink("cannot delete \(link.name)") { () throws(NetlinkError) in
                try kernel.socket.perform(NICRequest.delete(link: link.index))
            }
        }
    }

    private static func removeEntry(_ snapshot: NICSnapshot, on kernel: inout Kernel) throws(ProbeFailure) {
        let mac = snapshot.address.mac
        try ProbeFailure.netlink("cannot remove \(mac) from the list of \(snapshot.pf)") { () throws(NetlinkError) in
            guard try UnicastList.contains(mac, link: snapshot.pfIndex, using: &kernel.socket) else { return }
            try kernel.socket.perform(UnicastListRequest(mac, link: snapshot.pfIndex, isAddition: false))
        }
    }

    private static func restoreMAC(
        _ function: NICSnapshot.Function, _ snapshot: NICSnapshot, on kernel: inout Kernel
    ) throws(ProbeFailure) {
        try ProbeFailure.netlink("cannot give VF \(function.number) back its MAC") { () throws(NetlinkError) in
            let pf = try Links.read([snapshot.pfIndex], using: &kernel.socket).first ?? nil
            guard let now = pf?.virtualFunctions.first(where: { $0.index == function.number }), now.mac != function.mac
            else { return }
            try kernel.socket.perform(NICRequest.setMAC(function.mac, vf: function.number, of: snapshot.pfIndex))
        }
    }

    /// Takes a VF from its driver, but for one that is to keep it.
    private static func release(
        _ function: NICSnapshot.Function, keeping driver: String?
    ) throws(ProbeFailure) {
        guard let device = PCIDevice(function.device) else { throw ProbeFailure("\(function.device) is gone") }
        guard device.driver != driver else { return }
        try ProbeFailure.sysfs { () throws(SystemError) in try device.unbind() }
    }

    /// Gives a VF back to its driver, its interface its name and whether it was up.
    private static func restoreDriver(
        _ function: NICSnapshot.Function, on kernel: inout Kernel
    ) throws(ProbeFailure) {
        guard let device = PCIDevice(function.device) else { throw ProbeFailure("\(function.device) is gone") }
        var failure: ProbeFailure?
        if let driver = function.driver {
            do throws(ProbeFailure) {
                let link = try ProbeRun.bind(function.device, to: driver, using: &kernel.socket)
                try restore(link, as: function, on: &kernel)
            } catch {
                failure = error
            }
        }
        if device.driverOverride != function.override {
            try ProbeFailure.sysfs { () throws(SystemError) in try device.setDriverOverride(function.override) }
        }
        if let failure { throw failure }
    }

    private static func restore(
        _ link: Link, as function: NICSnapshot.Function, on kernel: inout Kernel
    ) throws(ProbeFailure) {
        let isRenamed = function.interface.map { $0 != link.name } ?? false
        try ProbeFailure.netlink("cannot restore \(link.name)") { () throws(NetlinkError) in
            if link.isUp, !function.isUp || isRenamed {
                try kernel.socket.perform(NICRequest.setUp(link: link.index, false))
            }
            if let name = function.interface, isRenamed {
                try kernel.socket.perform(NICRequest.rename(link: link.index, to: name))
            }
            if function.isUp, !link.isUp || isRenamed {
                try kernel.socket.perform(NICRequest.setUp(link: link.index, true))
            }
        }
    }

    /// Ends the probes that dead processes left.
    func run(_ journal: Journal, on kernel: inout Kernel) throws(ControllerError) -> [Reconciliation] {
        var results: [Reconciliation] = []
        for name in try ProbeRecord.names(in: journal) {
            // One that is broken keeps nobody from the others.
            do throws(ControllerError) {
                guard var record = try ProbeRecord(name, in: journal) else { continue }
                let (words, ok) = try end(&record, in: journal, on: &kernel)
                results.append(.init(guest: record.snapshot.pf, message: words, ok: ok))
            } catch {
                results.append(.init(guest: "probe \(name)", message: "\(error)", ok: false))
            }
        }
        return results
    }

    private func end(
        _ record: inout ProbeRecord, in journal: Journal, on kernel: inout Kernel
    ) throws(ControllerError) -> (words: String, ok: Bool) {
        if record.boot != journal.boot {
            if !options.dryRun { try record.end() }
            return ("a probe before the last reboot: forgotten", true)
        }
        if options.dryRun { return ("a probe did not end: the NIC would be restored", true) }
        guard try record.take() else { return ("a probe is running", true) }
        guard record.isOpen else { return ("a probe has ended meanwhile", true) }
        let failures = ProbeRestore.restore(record.snapshot, on: &kernel)
        guard failures.isEmpty else {
            return (
                "a probe did not end, and not everything could be put back: " + failures.joined(separator: "; "), false
            )
        }
        try record.end()
        return ("a probe did not end: the NIC is as it was before it", true)
    }
}
