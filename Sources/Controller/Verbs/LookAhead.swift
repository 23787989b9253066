import FDB
import Glibc
import Netlink
package import Policy
import Records
import Switchdev

/// Finds what would go wrong with a guest's redirections; changes nothing and needs no privilege.
package struct LookAhead {
    /// Findings that the caller accepts.
    let waived: Set<Finding.Code>

    /// - Parameter waived: findings that the caller accepts.
    package init(waiving waived: Set<Finding.Code> = []) { self.waived = waived }

    /// Of a prepared guest.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` for a guest that is not known.
    package func run(_ id: GuestID, on host: inout Host) throws(ControllerError) -> PreflightReport {
        let journal = try host.journal(for: id)
        let record = try journal.guest(id)
        let links = try host.kernel.links()
        return look(at: Subject(record.guest), of: id.text, links: links, beside: .success(journal), on: &host)
    }

    /// Of a guest that is to be prepared.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when not even the interfaces can be read.
    package func run(_ request: PreflightRequest, on host: inout Host) throws(ControllerError) -> PreflightReport {
        let links = try host.kernel.links()
        var unseen: [String] = []
        var subject = Subject(request)
        if let link = links[request.bridge] { subject.bridge = link.name }
        let names = PortName(links: links, pci: PCIFunctions()) { () throws(NetlinkError) in try Devlink.snapshot() }
        for side in Side.allCases {
            guard let name = subject.names[side] else { continue }
            do throws(ControllerError) {
                subject.names[side] = try names.netdev(name, role: side.rawValue, bridge: request.bridge)
            } catch {
                unseen.append("which port \(name) is: \(error)")
            }
        }
        let journal = Result { () throws(ControllerError) in try Journal(reading: host.folder) }
        return look(at: subject, of: nil, links: links, beside: journal, unseen: unseen, on: &host)
    }

    private func look(
        at subject: Subject, of guest: String?, links: Links, beside journal: Result<Journal?, ControllerError>,
        unseen: [String] = [], on host: inout Host
    ) -> PreflightReport {
        var subject = subject
        var observation = Survey.read(&subject, links: links, beside: journal, on: &host.kernel)
        Survey.tryPacketFilters(&observation, on: &host.kernel)
        return PreflightReport(
            guest: guest, bridge: subject.bridge, findings: Preflight(subject, observation).judge().findings,
            waiving: waived, unseen: unseen + observation.unseen.map(\.words))
    }
}
