package import FDB
package import Policy

/// Whose an address or a port is, found by one look instead of a reading of all guests.
///
/// Before a guest's record is made, a symbolic link `addresses/NAMESPACE-BRIDGE-ADDRESS` to its name is made for each of its
/// addresses, and a file `ports/NAMESPACE-IFINDEX/NAME` for each of its ports, or `+NAME` where the port is its uplink, which a thousand
/// guests may share. They are removed after its record. A killed process
/// may leave some without a record: who looks compares with the record, and `reconcile` removes them.
extension Journal {
    private func addressMark(_ address: Address, bridge: Int32, _ namespace: Int64? = nil) -> String {
        let text = address.description.replacing("/", with: "-")
        return "addresses/\(namespace ?? self.namespace)-\(bridge)-\(text)"
    }

    private func portFolder(_ port: Int32, _ namespace: Int64? = nil) -> String {
        "ports/\(namespace ?? self.namespace)-\(port)"
    }

    private func portMark(_ port: Int32, of guest: GuestInterface, _ namespace: Int64? = nil) -> String {
        "\(portFolder(port, namespace))/\(guest.uplink?.index == port ? "+" : "")\(guest.id)"
    }

    // MARK: - Looking

    /// The guest that owns an address on a bridge of this network namespace.
    ///
    /// - Parameters:
    ///   - bridge: its interface index.
    ///   - namespace: another network namespace.
    package func owner(
        of address: Address, bridge: Int32, namespace: Int64? = nil
    ) throws(ControllerError) -> String? {
        guard let name = folder.target(of: addressMark(address, bridge: bridge, namespace)) else { return nil }
        guard let record = try document(name)?.1, record.namespace == namespace ?? self.namespace,
            record.boot == boot, record.guest.bridge.index == bridge,
            record.guest.addresses.contains(address)
        else { return nil }
        return name
    }

    /// The records of the guests that have a port, of this boot and network namespace.
    ///
    /// - Parameters:
    ///   - port: its interface index.
    ///   - own: a guest that is left out.
    ///   - isUplinkToo: also those whose uplink it is.
    ///   - most: looks no further after so many.
    func guests(
        at port: Int32, but own: String, isUplinkToo: Bool = true, most: Int = .max
    ) throws(ControllerError) -> [GuestRecord] {
        var found: [GuestRecord] = []
        for mark in try folder.names(in: portFolder(port)) {
            let isUplink = mark.hasPrefix("+")
            let name = isUplink ? String(mark.dropFirst()) : mark
            if name == own || (isUplink && !isUplinkToo) { continue }
            guard let record = try document(name)?.1, record.namespace == namespace, record.boot == boot,
                record.guest.ports.contains(where: { $0.port.index == port })
            else { continue }
            found.append(record)
            if found.count == most { break }
        }
        return found
    }

    /// Whom a guest must share with.
    ///
    /// - Parameters:
    ///   - id: the guest; nil for one that is not known.
    ///   - ports: the interface indexes of its ports.
    ///   - bridge: the interface index of its bridge.
    package func neighbours(
        of id: GuestID?, ports: [Int32], addresses: [Address], bridge: Int32
    ) throws(ControllerError) -> Neighbours {
        let own = id?.text ?? ""
        var neighbours = Neighbours()
        for port in ports {
            // Uplinks are everybody's.
            let other = try guests(at: port, but: own, isUplinkToo: false, most: 1).first
            neighbours.ports[port] = other?.guest.id.text
        }
        for address in addresses {
            if let owner = try owner(of: address, bridge: bridge), owner != own { neighbours.owners[address] = owner }
        }
        return neighbours
    }

    // MARK: - Marking; the caller holds ``lockAll()``

    /// Makes the marks of addresses. One that a process left that died is replaced.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` for an address of another guest.
    func mark(
        _ addresses: [Address], of guest: GuestInterface, namespace: Int64? = nil
    ) throws(ControllerError) {
        for address in addresses {
            let mark = addressMark(address, bridge: guest.bridge.index, namespace)
            while try !folder.link(mark, to: guest.id.text) {
                let owner = try owner(of: address, bridge: guest.bridge.index, namespace: namespace)
                if owner == guest.id.text { break }
                if let owner {
                    throw ControllerError(.precondition, "address \(address) belongs to guest \(owner)")
                }
                try folder.remove(mark)
            }
        }
    }

    /// Makes the mark of a port.
    func mark(port: Int32, of guest: GuestInterface, namespace: Int64? = nil) throws(ControllerError) {
        try folder.makeFolder(portFolder(port, namespace))
        try folder.touch(portMark(port, of: guest, namespace))
    }

    func unmark(_ addresses: [Address], of guest: GuestInterface) throws(ControllerError) {
        for address in addresses {
            let mark = addressMark(address, bridge: guest.bridge.index)
            if folder.target(of: mark) == guest.id.text { try folder.remove(mark) }
        }
    }

    func unmark(port: Int32, of guest: GuestInterface) throws(ControllerError) {
        try folder.remove(portMark(port, of: guest))
        folder.removeFolder(portFolder(port))
    }

    /// Removes marks, locks and waits without a record, which processes have left that died.
    package func sweepMarks() throws(ControllerError) {
        let lock = try lockAll()
        defer { withExtendedLifetime(lock) {} }
        let known = Set(try names())
        for name in try folder.names(in: "addresses") {
            guard let owner = folder.target(of: "addresses/\(name)"), !known.contains(owner) else { continue }
            try folder.remove("addresses/\(name)")
        }
        for port in try folder.names(in: "ports") {
            for name in try folder.names(in: "ports/\(port)") {
                let owner = name.hasPrefix("+") ? String(name.dropFirst()) : name
                if known.contains(owner) { continue }
                try folder.remove("ports/\(port)/\(name)")
            }
            folder.removeFolder("ports/\(port)")
        }
        for name in try folder.names(in: "locks") where !known.contains(name) {
            guard let lock = try GuestLock(name, in: folder, patience: 0) else { continue }
            defer { withExtendedLifetime(lock) {} }
            // A prepare may have begun and ended since the names were read.
            if !folder.exists(Journal.file(name)) { try folder.remove("locks/\(name)") }
        }
        for name in try folder.records(in: "waits") where wait(of: name) == nil {
            try folder.remove(Waiting.file(name))
        }
    }
}
