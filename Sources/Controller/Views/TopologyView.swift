import FDB
import Policy
import Records
package import Switchdev

/// The topology in JSON.
package struct TopologyView: Encodable {
    /// Flags that are named only when they are on.
    package static let rareFlags: [(BridgePort.Flags, String)] = [
        (.hairpin, "hairpin"), (.isolated, "isolated"), (.locked, "locked"),
        (.neighbourSuppression, "neigh_suppress"), (.bpduGuard, "guard"),
    ]

    struct BridgeObject: Encodable {
        let name: String
        let alternativeNames: [String]
        let ifindex: Int32
        let up: Bool
        let vlanFiltering: Bool
        let defaultPvid: UInt16
        let ageingTimeCentiseconds: UInt32
        let ports: [Port]
        let findings: [Topology.Remark]
    }

    struct Port: Encodable {
        let name: String
        let alternativeNames: [String]
        let ifindex: Int32
        let linkKind: String?
        let physSwitchId: String?
        let physPortName: String?
        let devlinkPort: DevlinkObject?
        let functionAddress: String?
        let driver: String?
        let hardwareMiss: String?
        let up: Bool
        let carrier: Bool
        let stpState: String?
        let learning: Bool
        let flood: Bool
        let flags: [String]
        let mtu: UInt32
        let virtualFunctions: [Function]
        let roles: [Role]
        let entries: [EntryObject]
        let findings: [Topology.Remark]
    }

    struct Function: Encodable {
        let vf: UInt32
        let mac: String
    }

    struct Role: Encodable {
        let guest: String
        let side: Side
    }

    struct EntryObject: Encodable {
        let address: String
        let words: [String]
        let guest: String?
    }

    struct DevlinkObject: Encodable {
        let device: String
        let index: UInt32
        let flavour: String
        let controller: UInt32?
        let pfNumber: UInt16?
        let vf: UInt16?
        let sf: UInt32?
        let external: Bool
        let netdev: String?
        let master: String?
    }

    struct EswitchObject: Encodable {
        let device: String
        let mode: String?
        let physSwitchId: String?
        let ports: [DevlinkObject]
    }

    let bridges: [BridgeObject]
    let eswitches: [EswitchObject]
    let nics: [NICObject]

    /// - Parameter topology: as it was read.
    package init(_ topology: Topology) {
        nics = topology.nics.map(NICObject.init)
        eswitches = topology.eswitches.map { eswitch in
            EswitchObject(
                device: eswitch.handle.description, mode: eswitch.mode?.description,
                physSwitchId: eswitch.switchID?.description,
                ports: eswitch.ports.map { DevlinkObject($0.port, netdev: $0.netdev, master: $0.master) })
        }
        bridges = topology.bridges.map { bridge in
            BridgeObject(
                name: bridge.link.name, alternativeNames: bridge.link.alternativeNames, ifindex: bridge.link.index,
                up: bridge.link.isUp,
                vlanFiltering: bridge.settings.filtersVLANs, defaultPvid: bridge.settings.defaultPVID,
                ageingTimeCentiseconds: bridge.settings.ageingTime, ports: bridge.ports.map(Port.init),
                findings: bridge.findings)
        }
    }
}

extension TopologyView.DevlinkObject {
    init(_ port: DevlinkPort, netdev: String?, master: String?) {
        self.init(
            device: port.handle.description, index: port.index, flavour: port.flavour.description,
            controller: port.controller, pfNumber: port.pf, vf: port.vf, sf: port.sf, external: port.isExternal,
            netdev: netdev, master: master)
    }
}

extension TopologyView.Port {
    init(_ port: Topology.PortView) {
        let link = port.link
        let on = link.bridgePort?.flags ?? []
        self.init(
            name: link.name, alternativeNames: link.alternativeNames, ifindex: link.index, linkKind: link.kind,
            physSwitchId: link.switchID?.description,
            physPortName: link.portName,
            devlinkPort: port.devlink.map { .init($0, netdev: link.name, master: nil) },
            functionAddress: port.functionAddress, driver: port.driver?.name, hardwareMiss: port.driver?.miss.rawValue,
            up: link.isUp, carrier: link.hasCarrier,
            stpState: link.bridgePort?.state.description, learning: on.contains(.learning), flood: on.contains(.flood),
            flags: TopologyView.rareFlags.filter { on.contains($0.0) }.map(\.1), mtu: link.mtu,
            virtualFunctions: link.virtualFunctions.map { .init(vf: $0.index, mac: $0.mac.description) },
            roles: port.roles.map { .init(guest: $0.guest, side: $0.side) },
            entries: port.entries.map {
                .init(address: $0.address.description, words: $0.words, guest: port.pinned[$0.address])
            },
            findings: port.findings)
    }
}

/// A NIC in JSON.
struct NICObject: Encodable {
    struct Function: Encodable {
        let vf: UInt32
        let mac: String
        let vlan: UInt16
        let spoofchk: Bool?
        let trust: Bool?
        let linkState: String?
    }

    let name: String
    let nic: NICIdentity
    let functions: [Function]
    let verdict: MACFilterVerdict?
    let words: [String]

    init(_ view: Topology.NICView) {
        name = view.link.name
        nic = view.nic
        functions = view.link.virtualFunctions.map {
            Function(
                vf: $0.index, mac: $0.mac.description, vlan: $0.vlan, spoofchk: $0.checksSource, trust: $0.isTrusted,
                linkState: $0.linkState.map { "\($0)" })
        }
        verdict = view.verdict?.verdict
        words = view.verdict?.words ?? []
    }
}
