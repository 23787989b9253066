import FDB
import JSON
import Policy
import Switchdev

/// The content of a record's file: JSON whose members keep their order and their text, those that this version does not know
/// included (docs/records.md).
///
/// A switch changes six short members of a record that may have thousands of addresses: the text of the others is copied.
struct RecordDocument: Equatable {
    /// Raised only when the meaning of a member changes. Members are added without it.
    static let version: Int64 = 3

    /// The least version that says all of a record, so that earlier programs go on with what they understand: one that knows no gate
    /// would leave the port locked, to one that knows no single port the record is broken, and one that knows no gate by a table would
    /// leave the table shut.
    private static func version(of guest: GuestInterface) -> Int64 {
        guest.isGatedByTable ? 3 : guest.isGated || guest.primary == nil ? 2 : 1
    }

    /// A member of the object: its name, and its value as it stands in the file.
    private struct Member: Equatable {
        let name: String
        let text: [UInt8]
    }

    private var members: [Member]

    /// - Returns: nil for bytes that are not an object. A value that is no JSON is found when it is read.
    init?(_ bytes: [UInt8]) {
        members = []
        members.reserveCapacity(20)
        let isObject = bytes.withUnsafeBytes { bytes in
            JSONReader.members(of: bytes) { members.append(Member(name: $0, text: Array($1))) }
        }
        guard isObject else { return nil }
    }

    /// The bytes of the file.
    var bytes: [UInt8] {
        var bytes = Array("{".utf8)
        bytes.reserveCapacity(members.reduce(8) { $0 + $1.text.count + $1.name.utf8.count + 12 })
        for (index, member) in members.enumerated() {
            bytes += (index == 0 ? "\n  " : ",\n  ").utf8
            bytes += JSON.string(member.name).indented(to: 0)
            bytes += " : ".utf8
            bytes += member.text
        }
        bytes += "\n}\n".utf8
        return bytes
    }

    subscript(name: String) -> JSON? {
        get { members.last { $0.name == name }?.text.withUnsafeBytes { JSON($0) } }
        set {
            let index = members.lastIndex { $0.name == name }
            let new = newValue.map { Member(name: name, text: $0.indented(to: 1)) }
            switch (index, new) {
            case (let index?, let new?): members[index] = new
            case (let index?, nil): members.remove(at: index)
            case (nil, let new?): members.append(new)
            case (nil, nil): break
            }
        }
    }
}

// MARK: - A new record

extension RecordDocument {
    /// The document of a guest's first record.
    ///
    /// - Parameters:
    ///   - ips: the guest's IP addresses, as they were given.
    ///   - found: the entries of the addresses before anything was changed.
    ///   - neighbours: the neighbours that are to follow it, before anything was changed.
    init(
        _ record: GuestRecord, ips: [AnnouncementRequest.Owned] = [], found: [Entry]? = nil,
        neighbours: [IPNeighbour] = []
    ) {
        let guest = record.guest
        members = []
        self["version"] = .integer(RecordDocument.version(of: guest))
        self["id"] = .integer(record.row)
        self["revision"] = .integer(record.revision)
        self["guest"] = .string(guest.id.text)
        self["boot"] = .string(record.boot)
        self["namespace"] = .integer(record.namespace)
        self["cookie"] = record.cookie.map { .integer($0) }
        self["side"] = .string(guest.side.rawValue)
        self["phase"] = .string(record.phase.rawValue)
        self["since_ns"] = .integer(record.since)
        self["by"] = .string(record.by)
        self["proof"] = .string(record.proof.rawValue)
        self["kind"] = .string(guest.kind.rawValue)
        self["sticky"] = .bool(guest.isSticky)
        self["guarded"] = .bool(guest.isGuarded)
        self["replay"] = guest.replay.map { .string($0.rawValue) }
        if guest.sharesPorts, !guest.isSticky { self["shares_ports"] = .bool(true) }
        self["bridge"] = RecordDocument.port(guest.bridge)
        self["goal"] = record.goal.map { .string($0.rawValue) }
        var ports = guest.own.map { RecordDocument.port($0.port, $0.side.rawValue) }
        if let uplink = guest.uplink { ports.append(RecordDocument.port(uplink, "uplink")) }
        self["ports"] = .array(ports)
        self["nic"] = guest.nic.map(RecordDocument.nic)
        self["bracket"] = record.bracket.map(RecordDocument.bracket)
        self["addresses"] = .array(
            guest.addresses.map {
                RecordDocument.address(
                    $0, isDeclared: !guest.adopted.contains($0), isFromPVID: guest.fromPVID.contains($0))
            })
        self["ips"] = ips.isEmpty ? nil : .array(ips.map { .string($0.description) })
        writeNeighbours(of: guest, found: neighbours)
        self["found"] = found.map { .array($0.map(RecordDocument.entry)) }
    }

    /// A port, or the bridge.
    static func port(_ port: PortIdentity, _ role: String? = nil) -> JSON {
        var members = [JSON.Member("name", .string(port.name)), .init("ifindex", .integer(Int64(port.index)))]
        guard let role else { return .object(members) }
        members.insert(.init("role", .string(role)), at: 0)
        members += [
            .init("eswitch", .bool(port.isEswitchPort)), .init("restore_learning", .bool(port.learningToRestore)),
            .init("clear_backup", .bool(port.backupToClear)),
        ]
        if let gate = port.gate { members.append(.init("gate", gate == .lock ? .bool(true) : .string(gate.rawValue))) }
        if port.isLockedByOthers { members.append(.init("locked_by_others", .bool(true))) }
        if let devlink = port.devlink { members.append(.init("devlink", .string(devlink))) }
        return .object(members)
    }

    /// An address.
    ///
    /// - Parameters:
    ///   - isDeclared: the operator named it; otherwise the guest's filter asked for it.
    ///   - isFromPVID: its VLAN is the PVID that its ports had.
    static func address(_ address: Address, isDeclared: Bool, isFromPVID: Bool = false) -> JSON {
        var members = [
            JSON.Member("address", .string(address.description)),
            .init("declared_by", .string(isDeclared ? "operator" : "filter")),
        ]
        if isDeclared, address.vlan != nil {
            members.append(.init("vlan_from", .string(isFromPVID ? "pvid" : "given")))
        }
        return .object(members)
    }

    /// An entry as it was found.
    static func entry(_ entry: Entry) -> JSON {
        var flags: [JSON] = []
        if entry.isSticky { flags.append(.string("sticky")) }
        if entry.flags.contains(.externallyLearned) { flags.append(.string("extern_learn")) }
        return .object([
            .init("address", .string(entry.address.description)), .init("ifindex", .integer(Int64(entry.port))),
            .init("state", .string(entry.isStatic ? "static" : "dynamic")), .init("flags", .array(flags)),
        ])
    }

    static func bracket(_ bracket: Bracket) -> JSON {
        .object(
            [
                .init("opened_ns", .integer(bracket.openedAt)), .init("means", .string(bracket.means.rawValue)),
                .init("owns_clsact", .bool(bracket.ownsClsact)),
            ] + (bracket.isForCarrier ? [.init("for", .string("carrier"))] : []))
    }

    private static func nic(_ nic: LegacyNIC) -> JSON {
        .object([
            .init("pf", port(nic.pf)), .init("vf", .integer(Int64(nic.vf))), .init("had_entry", .bool(nic.hadEntry)),
            .init("had_mac", .string(nic.hadMAC.description)), .init("filter_order", .string(nic.order.rawValue)),
        ])
    }
}

// MARK: - Reading

extension RecordDocument {
    /// What is wrong with a record's file.
    struct Fault: Error {
        let words: String
        /// It is whole, but of a version that this one does not know.
        let isNewer: Bool
        init(_ words: String, isNewer: Bool = false) { (self.words, self.isNewer) = (words, isNewer) }
    }

    /// The record.
    ///
    /// - Parameter before: an earlier document of the guest with its record: what has the same text is not read again.
    /// - Throws: ``Fault`` that names the member.
    func record(after before: Journal.Kept? = nil) throws(Fault) -> GuestRecord {
        let version = try integer("version")
        guard version <= RecordDocument.version else {
            throw Fault(
                "it was written by a newer fdbsteer (record version \(version), this one reads "
                    + "\(RecordDocument.version))", isNewer: true)
        }
        let guest: GuestInterface
        if let before, RecordDocument.ofTheGuest.allSatisfy({ raw($0) == before.document.raw($0) }) {
            var same = before.record.guest
            same.side = try word("side")
            guest = same
        } else {
            guest = try guestInterface()
        }
        var record = GuestRecord(
            row: try integer("id"), guest: guest, phase: try word("phase"), goal: try optionalWord("goal"),
            boot: try text("boot"), namespace: try integer("namespace"), cookie: self["cookie"]?.integer,
            proof: try word("proof"),
            revision: try integer("revision"), since: self["since_ns"]?.integer ?? 0, by: self["by"]?.text ?? "")
        if let bracket = self["bracket"] {
            guard let opened = bracket["opened_ns"]?.integer, opened >= 0, let means = bracket["means"]?.text,
                let means = CopyMeans(rawValue: means)
            else { throw Fault("\"bracket\" lacks \"opened_ns\" or \"means\"") }
            record.bracket = Bracket(
                openedAt: opened, means: means, ownsClsact: bracket["owns_clsact"]?.bool == true,
                isForCarrier: bracket["for"]?.text == "carrier")
        }
        return record
    }

    /// The members that a redirection does not change.
    private static let ofTheGuest = [
        "addresses", "ports", "guest", "bridge", "nic", "kind", "sticky", "guarded", "neighbours", "replay",
    ]

    private func raw(_ name: String) -> [UInt8]? { members.last { $0.name == name }?.text }

    /// The guest's IP addresses as they were given, IPv4 first; those that cannot be read are left out.
    var ips: [AnnouncementRequest.Owned] {
        (self["ips"]?.elements ?? []).compactMap { $0.text.flatMap { try? AnnouncementRequest.Owned($0) } }
            .sorted { $0.ip < $1.ip }
    }

    /// The entries of the guest's addresses before its `prepare`; nil in a record of a version that did not keep them.
    var found: EntrySet? {
        self["found"]?.elements.map { elements in
            EntrySet(
                elements.map { element in
                    guard let address = element.address, let index = element["ifindex"]?.integer,
                        let port = Int32(exactly: index)
                    else { return nil }
                    let words = (element["flags"]?.elements ?? []).compactMap(\.text)
                    var flags: EntryFlags = []
                    if words.contains("sticky") { flags.insert(.sticky) }
                    if words.contains("extern_learn") { flags.insert(.externallyLearned) }
                    return Entry(
                        address: address, port: port, bridge: nil,
                        state: element["state"]?.text == "static" ? .noARP : .reachable, flags: flags)
                })
        }
    }

    private func guestInterface() throws(Fault) -> GuestInterface {
        let name = try text("guest")
        guard let id = try? GuestID(name) else { throw Fault("\"guest\" is \"\(name)\"") }
        let ports = self["ports"]?.elements ?? []
        if ports.contains(where: { $0["role"]?.text == nil }) { throw Fault("a port has no \"role\"") }
        func port(_ role: String) throws(Fault) -> PortIdentity? {
            guard let port = ports.first(where: { $0["role"]?.text == role }) else { return nil }
            return try RecordDocument.identity(port, role)
        }
        let primary = try port("primary")
        guard let bridge = self["bridge"], let standby = try port(primary == nil ? "local" : "standby") else {
            throw Fault("\"bridge\", or the port \"primary\", \"standby\" or \"local\", is missing")
        }
        var addresses: [Address] = []
        var fromPVID: [Address] = []
        var adopted: [Address] = []
        for element in self["addresses"]?.elements ?? [] {
            let text = element["address"]?.text ?? ""
            do throws(AddressError) { addresses.append(try Address(text)) } catch {
                throw Fault("\"addresses\": \(error)")
            }
            guard let address = addresses.last else { continue }
            if address.vlan != nil, element["vlan_from"]?.text == "pvid" { fromPVID.append(address) }
            if element["declared_by"]?.text == "filter" { adopted.append(address) }
        }
        var guest = GuestInterface(
            id: id, bridge: try RecordDocument.identity(bridge, "bridge"), primary: primary, standby: standby,
            uplink: try port("uplink"), addresses: addresses, side: try word("side"),
            isSticky: self["sticky"]?.bool == true, nic: try legacyNIC())
        guest.kind = try word("kind")
        guest.fromPVID = fromPVID
        guest.isGuarded = self["guarded"]?.bool == true
        guest.replay = try optionalWord("replay")
        guest.adopted = adopted
        if self["shares_ports"]?.bool == true { guest.sharesPorts = true }
        if let neighbours = self["neighbours"] { guest.neighbours = try RecordDocument.neighbours(neighbours) }
        return guest
    }

    static func identity(_ port: JSON, _ role: String) throws(Fault) -> PortIdentity {
        guard let name = port["name"]?.text, let index = port["ifindex"]?.integer.flatMap({ Int32(exactly: $0) }) else {
            throw Fault("the port \"\(role)\" lacks \"name\" or \"ifindex\"")
        }
        var identity = PortIdentity(
            name: name, index: index, isEswitchPort: port["eswitch"]?.bool == true,
            learningToRestore: port["restore_learning"]?.bool == true, backupToClear: port["clear_backup"]?.bool == true
        )
        if let gate = port["gate"], gate.bool != false {
            guard let means = gate.bool == true ? Gate.lock : gate.text.flatMap(Gate.init) else {
                throw Fault("the port \"\(role)\" has a \"gate\" of an unknown kind")
            }
            identity.gate = means
            identity.isLockedByOthers = port["locked_by_others"]?.bool == true
        }
        if identity.isEswitchPort { identity.devlink = port["devlink"]?.text }
        return identity
    }

    private func legacyNIC() throws(Fault) -> LegacyNIC? {
        guard let nic = self["nic"] else { return nil }
        guard let pf = nic["pf"], let vf = nic["vf"]?.integer.flatMap({ UInt32(exactly: $0) }),
            let mac = nic["had_mac"]?.text.flatMap({ MACAddress($0) }),
            let order = nic["filter_order"]?.text.flatMap({ FilterOrder(rawValue: $0) })
        else { throw Fault("\"nic\" lacks \"pf\", \"vf\", \"had_mac\" or \"filter_order\"") }
        return LegacyNIC(
            pf: try RecordDocument.identity(pf, "pf"), vf: vf, hadEntry: nic["had_entry"]?.bool == true, hadMAC: mac,
            order: order)
    }

    private func integer(_ name: String) throws(Fault) -> Int64 {
        guard let value = self[name]?.integer else { throw Fault("\"\(name)\" is no integer") }
        return value
    }

    private func text(_ name: String) throws(Fault) -> String {
        guard let value = self[name]?.text else { throw Fault("\"\(name)\" is no text") }
        return value
    }

    private func word<Word: RawRepresentable>(_ name: String) throws(Fault) -> Word where Word.RawValue == String {
        let text = try text(name)
        guard let word = Word(rawValue: text) else { throw Fault("\"\(name)\" is \"\(text)\"") }
        return word
    }

    private func optionalWord<Word: RawRepresentable>(
        _ name: String
    ) throws(Fault) -> Word? where Word.RawValue == String {
        if let value = self[name], value != .null { try word(name) } else { nil }
    }
}
