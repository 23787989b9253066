import FDB
import Netlink
import Policy
import Switchdev

/// What can be said of hardware without changing anything: the entries' flags, what the journal remembers, and the
/// driver's own table where it shows one.
struct HardwareView {
    /// What is wrong.
    private(set) var problems: [String] = []
    private let record: GuestRecord
    private let hasSwitch: Bool
    /// The tables were there, and held what they should.
    private var tablesRead: [String] = []

    /// Reads the drivers' tables.
    init(_ record: GuestRecord, _ observation: Observation) throws(ControllerError) {
        self.record = record
        let guest = record.guest
        let switched = guest.ports.compactMap { observation.ports[$0.side] }.filter(\.isEswitchPort)
        hasSwitch = !switched.isEmpty
        guard hasSwitch, observation.bridge != nil else { return }
        let target = guest.port(of: guest.side)
        for address in guest.addresses where target?.isEswitchPort == true {
            guard let entry = observation.entry(address), entry.port == target?.index else { continue }
            if !entry.flags.contains(.offloaded) {
                problems.append("\(address) is on eswitch port \(target?.name ?? ""), but hardware never reported it")
            }
        }
        let devlink = try ControllerError.reading("devlink") { () throws(NetlinkError) in try Devlink.snapshot() }
        for handle in Set(switched.compactMap { devlink[interface: $0.index]?.handle }) {
            guard let table = DriverTable.read(handle, bridge: guest.bridge.name) else { continue }
            tablesRead.append("\(handle)")
            let own = Set(switched.filter { devlink[interface: $0.index]?.handle == handle }.map(\.name))
            for address in guest.addresses {
                let found = table.ports[address] ?? []
                let expected = target.map { own.contains($0.name) ? [$0.name] : [] } ?? []
                guard found != Set(expected) else { continue }
                func words(_ names: some Collection<String>) -> String {
                    names.isEmpty ? "nowhere" : "on " + names.sorted().joined(separator: " and ")
                }
                problems.append(
                    "the table of \(handle)'s driver has \(address) \(words(found)), where it should be \(words(expected))"
                )
            }
        }
    }

    /// The verdict.
    func proof(tableIsRight: Bool) -> OffloadProof {
        guard hasSwitch || record.guest.nic != nil else { return .nothingToProve }
        guard tableIsRight else { return .missing(reason: "not everything is as intended") }
        if !tablesRead.isEmpty {
            return .proven(evidence: "the driver's own table says so (\(tablesRead.sorted().joined(separator: ", ")))")
        }
        if record.proof == .proven { return .remembered(record.guest.side) }
        return .missing(reason: "it was not shown when the guest came to \(record.guest.side.rawValue)")
    }
}
