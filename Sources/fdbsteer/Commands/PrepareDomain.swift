import Controller
import LibvirtHook
import Policy

/// The guests of a libvirt domain, as the hook finds them: `prepare --domain`.
enum PrepareDomain {
    /// The preparations that the hook would make.
    ///
    /// - Parameters:
    ///   - name: libvirt's name of the domain.
    ///   - side: where its guests are; nil: where their entries are, for the domain may have run for long.
    /// - Throws: ``ControllerError`` of code `precondition` with all that is wrong with the domain or the hook's configuration.
    static func requests(
        of name: String, at side: Side?, allowsLeak: Bool
    ) throws(ControllerError) -> [PreparationRequest] {
        let configuration = HookConfiguration.ofHost()
        let domain: DomainXML
        do throws(DomainXML.Failure) {
            domain = try DomainXML.ofVirsh(name)
        } catch {
            throw ControllerError(
                .precondition, "domain \(name) cannot be prepared: \(error)",
                remedy: "\"virsh list --all\" lists the domains")
        }
        let plan = HookPlan(starting: domain, configuration)
        let faults = configuration.complaints.map { "configuration: \($0)" } + plan.errors
        guard faults.isEmpty else {
            throw ControllerError(
                .precondition, "domain \(name) cannot be prepared: \(faults.joined(separator: "; "))",
                remedy: "/etc/fdbsteer/libvirt-hook.conf says what the domain's XML does not")
        }
        var requests: [PreparationRequest] = []
        for case .prepare(var request) in plan.steps {
            // The hook knows where a guest is when it is started.
            (request.side, request.allowsLeak) = (nil, allowsLeak)
            requests.append(try request.replacing(side: side))
        }
        guard !requests.isEmpty else {
            throw configuration.ignored.contains(domain.name)
                ? ControllerError(
                    .precondition, "domain \(name) is not prepared: the hook is to ignore it",
                    remedy: "take the line \"ignore \(name)\" out of /etc/fdbsteer/libvirt-hook.conf")
                : ControllerError(
                    .precondition, "domain \(name) is not prepared: it has no failover pair",
                    remedy: "\"interfaces bridged\" in /etc/fdbsteer/libvirt-hook.conf takes guests with one port too")
        }
        return requests
    }
}
