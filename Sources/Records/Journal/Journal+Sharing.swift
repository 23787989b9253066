package import FDB
package import Policy

/// Whose an address or a port is, found by one look instead of a reading of all guests.
///
/// Before a guest's record is made, a symbolic link `addresses/NAMESPACE-BRIDGE-ADDRESS` to its name is made for each of its
/// addresses, and a file `ports/NAMESPACE-IFINDEX/NAME` for each of its ports, or `+NAME` where the port is its uplink, which a thousand
/// guests may share. They are removed after its record. A killed process
/// may leave some without a record: who looks compares with the record, and `reconcile` removes them.
///
/// NAMESPACE is the namespace's cookie. Earlier versions had its inode there, so both are looked at.
extension Journal {
    private func addressMark(_ address: Address, bridge: Int32, _ namespace: Int64) -> String {
        "addresses/\(namespace)-\(bridge)-\(address.description.replacing("/", with: "-"))"
    }

    private func portFolder(_ port: Int32, _ namespace: Int64) -> String { "ports/\(namespace)-\(port)" }

    private func portMark(_ port: Int32, of guest: GuestInterface, _ namespace: Int64) -> String {
        "\(portFolder(port, namespace))/\(guest.uplink?.index == port ? "+" : "")\(guest.id)"
    }

    /// What the marks of this network namespace may have in the place of NAMESPACE.
    private var keys: [Int64] { [cookie, namespace].compactMap { $0 } }

    // MARK: - Looking

    /// The guest that owns an address on a bridge of this network namespace.
    ///
    /// - Parameter bridge: its interface index.
    package func owner(of address: Address, bridge: Int32) throws(ControllerError) -> String? {
        try ownerRecord(of: address, bridge: bridge)?.guest.id.text
    }

    private func ownerRecord(of address: Address, bridge: Int32) throws(ControllerError) -> GuestRecord? {
        try owner(of: address, bridge: bridge, keys) { place(of: $0) == .here }
    }

    private func owner(
        of address: Address, bridge: Int32, _ keys: [Int64], _ isNeighbour: (GuestRecord) -> Bool
    ) throws(ControllerError) -> GuestRecord? {
        for key in keys {
            guard let name = folder.target(of: addressMark(address, bridge: bridge, key)),
                let record = try document(name)?.1, record.guest.bridge.index == bridge,
                record.guest.addresses.contains(address), isNeighbour(record)
            else { continue }
            return record
        }
        return nil
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
        for key in keys {
            for mark in try folder.names(in: portFolder(port, key)) {
                let isUplink = mark.hasPrefix("+")
                let name = isUplink ? String(mark.dropFirst()) : mark
                if name == own || (isUplink && !isUplinkToo) || found.contains(where: { $0.guest.id.text == name }) {
                    continue
                }
                guard let record = try document(name)?.1, place(of: record) == .here,
                    record.guest.ports.contains(where: { $0.port.index == port })
                else { continue }
                found.append(record)
                if found.count == most { return found }
            }
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
            if other?.guest.own.contains(where: { $0.port.index == port && $0.port.gates }) == true {
                neighbours.gates[port] = other?.guest.id.text
            }
        }
        for address in addresses {
            guard let owner = try ownerRecord(of: address, bridge: bridge)?.guest, owner.id.text != own else {
                continue
            }
            if owner.adopted.contains(address) {
                neighbours.squatters[address] = owner.id.text
            } else {
                neighbours.owners[address] = owner.id.text
            }
        }
        return neighbours
    }

    // MARK: - Marking; the caller holds ``lockAll()``

    /// Makes the marks of addresses. One that a process left that died is replaced.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` for an address of another guest.
    func mark(_ addresses: [Address], of record: GuestRecord) throws(ControllerError) {
        let guest = record.guest
        for address in addresses {
            let owner = try owner(of: address, bridge: guest.bridge.index, record.keys, record.isBeside)?.guest.id
            if let owner, owner != guest.id {
                throw ControllerError(.precondition, "address \(address) belongs to guest \(owner)")
            }
            let mark = addressMark(address, bridge: guest.bridge.index, record.keys[0])
            if try folder.link(mark, to: guest.id.text) || owner != nil { continue }
            try folder.remove(mark)
            _ = try folder.link(mark, to: guest.id.text)
        }
    }

    /// Makes the mark of a port.
    func mark(port: Int32, of record: GuestRecord) throws(ControllerError) {
        try folder.makeFolder(portFolder(port, record.keys[0]))
        try folder.touch(portMark(port, of: record.guest, record.keys[0]))
    }

    func unmark(_ addresses: [Address], of record: GuestRecord) throws(ControllerError) {
        for key in record.keys {
            for address in addresses {
                let mark = addressMark(address, bridge: record.guest.bridge.index, key)
                if folder.target(of: mark) == record.guest.id.text { try folder.remove(mark) }
            }
        }
    }

    func unmark(port: Int32, of record: GuestRecord) throws(ControllerError) {
        for key in record.keys {
            try folder.remove(portMark(port, of: record.guest, key))
            folder.removeFolder(portFolder(port, key))
        }
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
        for name in try folder.records(in: Subfolder.waits.rawValue) {
            // Who begins to wait has the lock before the file is there.
            guard let lock = try GuestLock(Waiting.lock(name), in: folder, patience: 0) else { continue }
            defer { withExtendedLifetime(lock) {} }
            try folder.remove(Waiting.file(name))
            try folder.remove("locks/\(Waiting.lock(name))")
        }
        for name in try folder.names(in: "locks") where !known.contains(name) {
            guard let lock = try GuestLock(name, in: folder, patience: 0) else { continue }
            defer { withExtendedLifetime(lock) {} }
            // A prepare may have begun and ended since the names were read.
            if !folder.exists(Journal.file(name)) { try folder.remove("locks/\(name)") }
        }
    }
}

extension GuestRecord {
    /// What its marks may have in the place of NAMESPACE; new ones have the first.
    fileprivate var keys: [Int64] { [cookie, namespace].compactMap { $0 } }

    /// Another guest is of the same boot and network namespace.
    fileprivate func isBeside(_ other: GuestRecord) -> Bool {
        boot == other.boot && Place.isSame(cookie, other.cookie, inodes: namespace == other.namespace)
    }
}

extension Claim {
    /// Whether a port is one that another guest of this boot and network namespace was prepared for.
    ///
    /// - Parameter port: its interface index.
    package func isUsedByOthers(_ port: Int32) throws(ControllerError) -> Bool {
        try !journal.guests(at: port, but: record.guest.id.text, most: 1).isEmpty
    }

    /// Whether another guest's open bracket on the same standby has made that port's clsact.
    package func sharesClsact() throws(ControllerError) -> Bool {
        let standby = record.guest.standby.index
        return try journal.guests(at: standby, but: record.guest.id.text).contains {
            $0.guest.standby.index == standby && $0.bracket?.ownsClsact == true
        }
    }
}
