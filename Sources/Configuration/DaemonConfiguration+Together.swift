import FDB
import Policy

/// What cannot be so of two guests at once.
extension DaemonConfiguration {
    /// Reports what two tables cannot both have.
    ///
    /// - Parameter lines: of the guests' ids.
    func requireCompatible(_ lines: [GuestID: Int], _ problems: inout Problems) {
        var found: [(guest: GuestID, words: String)] = []
        takeEachAddressOnce(&found)
        takeEachPortOnce(&found)
        takeEachDeviceOnce(&found)
        for guest in guests where guest.follow && (guest.standbyDevice == nil || guest.primaryDevice == nil) {
            guard let source = guest.source, guests.count(where: { $0.follow && $0.source == source }) > 1 else {
                continue
            }
            found.append(
                (
                    guest.id,
                    "shares \(source) with another: give standby_device and primary_device, so that the events of one pair do "
                        + "not move the other"
                ))
        }
        for (id, words) in found { problems.add(line: lines[id], "guest \(id) \(words)") }
    }

    /// An address has one guest on a bridge, a VF in legacy mode one MAC, and a neighbour's IP address one guest on an interface.
    private func takeEachAddressOnce(_ found: inout [(guest: GuestID, words: String)]) {
        var owners: [String: GuestID] = [:]
        for guest in guests {
            guard let preparation = guest.preparation else { continue }
            func take(_ what: String) {
                guard let owner = owners.updateValue(guest.id, forKey: what), owner != guest.id else { return }
                found.append((guest.id, "has \(what), which guest \(owner) has already"))
            }
            for address in preparation.addresses { take("address \(address) on \(preparation.bridge)") }
            if let legacy = preparation.legacy { take("vf \(legacy.vf) of \(legacy.pf)") }
            for interface in preparation.neighbours {
                for owned in preparation.ips { take("ip \(owned.ip) with neighbour \(interface)") }
            }
        }
    }

    /// A port is in one bridge, no bridge is in another, and a gate shuts a port for all.
    private func takeEachPortOnce(_ found: inout [(guest: GuestID, words: String)]) {
        let prepared = guests.compactMap(\.preparation)
        let bridges = Dictionary(prepared.map { ($0.bridge, $0.id) }) { first, _ in first }
        var places: [String: PreparationRequest] = [:]
        var gates: [String: PreparationRequest] = [:]
        for request in prepared where request.isGated {
            for port in request.ownPorts { gates[port] = gates[port] ?? request }
        }
        for request in prepared {
            for port in request.ownPorts + [request.uplink].compactMap({ $0 }) {
                if let other = bridges[port], other != request.id {
                    found.append((request.id, "has port \(port), which is the bridge of guest \(other)"))
                }
                let place = places[port, default: request]
                places[port] = place
                if place.bridge != request.bridge {
                    found.append(
                        (
                            request.id,
                            "has port \(port) on \(request.bridge), and guest \(place.id) has it on \(place.bridge)"
                        ))
                }
            }
            for port in request.ownPorts {
                guard let other = gates[port], other.id != request.id, other.bridge == request.bridge else { continue }
                found.append(
                    (request.id, "has port \(port), at which guest \(other.id) has a gate, which locks others out"))
            }
        }
    }

    /// A NIC that the events of a monitor name belongs to one guest.
    private func takeEachDeviceOnce(_ found: inout [(guest: GuestID, words: String)]) {
        var owners: [String: GuestID] = [:]
        for guest in guests where guest.follow {
            for device in [guest.standbyDevice, guest.primaryDevice] {
                guard let device, let source = guest.source,
                    let owner = owners.updateValue(guest.id, forKey: "\(source) \(device)"), owner != guest.id
                else { continue }
                found.append((guest.id, "has device \(device) of \(source), which guest \(owner) has already"))
            }
        }
    }
}

extension DaemonConfiguration.Guest {
    /// Where its machine's events come from.
    fileprivate var source: String? { qmp ?? domain }
}

extension PreparationRequest {
    /// The ports that are the guest's own. In legacy mode the port to the NIC is everybody's.
    fileprivate var ownPorts: [String] { [legacy == nil ? primary : nil, standby].compactMap { $0 } }
}
