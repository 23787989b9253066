import FDB

/// Where frames go now, in words, for errors about things that are gone.
package struct Whereabouts {
    package let guest: GuestInterface
    package let observation: Observation

    package var text: String {
        guard observation.bridge != nil else { return "no bridge forwards the guest's frames now" }
        var byPort: [Int32: Int] = [:]
        var missing = 0
        for address in guest.addresses {
            if let entry = observation.entry(address) { byPort[entry.port, default: 0] += 1 } else { missing += 1 }
        }
        var parts = byPort.sorted { $0.key < $1.key }.map { port, count in
            "frames for \(count) of \(guest.addresses.count) addresses go to \(name(of: port))"
        }
        if missing > 0 {
            parts.append(
                "\(missing) of \(guest.addresses.count) addresses have no entry: their frames are flooded to the "
                    + "ports with \"flood on\", and lost where there is none")
        }
        return parts.joined(separator: "; ")
    }

    private func name(of port: Int32) -> String {
        guard let side = guest.side(ofPort: port), let name = guest.port(of: side)?.name else {
            return "the port with ifindex \(port), which is none of this guest's"
        }
        return "\(name) (\(side.rawValue))"
    }
}
