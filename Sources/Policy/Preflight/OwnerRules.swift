import FDB
import Switchdev

/// Programs that keep entries of their own on the bridge, which `prepare` takes over and `release` gives back as they were.
package enum OwnerRules {
    static let all = [otherOwner]

    static let otherOwner = Rule(
        "other-owner", .note, needs: .table, shown: "here: ports of Proxmox VE, libvirt and CNI",
        harm: "nothing: taken over, and given back as it was"
    ) { it, answer in
        for port in it.ownPorts {
            let entries = it.observation.table?.entries.values.filter {
                $0.port == port.index && $0.isStatic && !$0.flags.contains(.externallyLearned)
                    && !it.isPinned($0.address)
            }
            let count = entries?.count ?? 0
            let owner = EntryOwner(port)
            guard count > 0 || owner?.keepsEntries(port) == true else { continue }
            let flags = port.bridgePort?.flags ?? []
            answer(
                port.name,
                "\(owner?.words ?? "another program keeps entries on it itself"): \(count) static, learning "
                    + flags.word(.learning),
                evidence: [
                    "\(port.name) static entries": "\(count)", "\(port.name) learning": flags.word(.learning),
                    "\(port.name) flood": flags.word(.flood),
                ],
                remedy:
                    "nothing: prepare takes the guest's over, and release gives them back as they were; while the guest "
                    + "is prepared nobody else should move them")
        }
    }
}

extension Preflight {
    /// An entry is a prepared guest's, and fdbsteer's.
    fileprivate func isPinned(_ address: Address) -> Bool {
        subject.guest != nil && subject.addresses.contains(address) || observation.neighbours?.owners[address] != nil
    }
}

/// A program that makes ports of a bridge and their entries, as far as their names tell.
enum EntryOwner {
    /// Proxmox VE: `tap100i0`, `fwpr100p0`, `veth100i0` (qemu-server, `PVE::Network::tap_plug`).
    case proxmox
    /// libvirt: `vnet0` (src/util/virnetdevtap.c).
    case libvirt
    /// A CNI plugin: `veth` and eight hexadecimal digits (containernetworking, `ip.RandomVethName`).
    case cni

    /// - Returns: nil for a port with another name.
    init?(_ port: Link) {
        let name = port.name
        if name.wholeMatch(of: /(tap|veth)\d+i\d+|fwpr\d+p\d+/) != nil {
            self = .proxmox
        } else if name.wholeMatch(of: /vnet\d+/) != nil {
            self = .libvirt
        } else if name.wholeMatch(of: /veth[0-9a-f]{8}/) != nil {
            self = .cni
        } else {
            return nil
        }
    }

    /// A port's settings say that its entries are made by hand.
    fileprivate func keepsEntries(_ port: Link) -> Bool {
        let flags = port.bridgePort?.flags ?? []
        switch self {
        case .proxmox: return !flags.contains(.learning)
        case .libvirt: return !flags.contains(.learning) && !flags.contains(.flood)
        case .cni: return false
        }
    }

    fileprivate var words: String {
        switch self {
        case .proxmox: "Proxmox VE keeps its entries itself (bridge-disable-mac-learning)"
        case .libvirt: "libvirt keeps its entries itself (<bridge macTableManager='libvirt'/>)"
        case .cni: "a CNI plugin has made it, with entries of its own (macspoofchk lets no other MACs pass besides)"
        }
    }
}
