import FDB
import Policy
import Glibc
import System

extension DaemonConfiguration {
    /// The path of the daemon's configuration.
    package static let defaultPath = "/etc/fdbsteer/fdbsteerd.toml"
    /// The largest file that is read: 1 MiB has room for thousands of guests.
    static let mostBytes = 1 << 20

    /// Reads a file.
    ///
    /// - Throws: ``ConfigurationError`` with everything that is wrong; ``ConfigurationError/isMissing`` if there is no file.
    package static func load(path: String = defaultPath) throws(ConfigurationError) -> DaemonConfiguration {
        // A FIFO is not waited for.
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else {
            var unreadable = failure(path, "cannot be read: \(String(cString: strerror(errno)))")
            unreadable.isMissing = errno == ENOENT
            throw unreadable
        }
        defer { close(file) }
        var information = stat()
        guard fstat(file, &information) == 0, information.st_mode & S_IFMT == S_IFREG else {
            throw failure(path, "is not a regular file")
        }
        let bytes: [UInt8]
        do throws(SystemError) {
            bytes = try SystemFile.contents(of: file, limit: mostBytes + 1)
        } catch {
            throw failure(path, "cannot be read: \(error.errno.text)")
        }
        return try parse(bytes, path: path)
    }

    /// Reads a text.
    ///
    /// - Parameters:
    ///   - bytes: the bytes of the file.
    ///   - path: the name of the file, for errors.
    /// - Throws: ``ConfigurationError`` with everything that is wrong.
    package static func parse(_ bytes: [UInt8], path: String) throws(ConfigurationError) -> DaemonConfiguration {
        guard bytes.count <= mostBytes else { throw failure(path, "is longer than \(mostBytes) bytes") }
        let root: Table
        do throws(SyntaxError) {
            root = try DocumentReader.read(bytes)
        } catch {
            throw ConfigurationError(path: path, problems: [.init(line: error.line, message: error.message)])
        }
        var problems = Problems()
        var configuration = DaemonConfiguration()
        configuration.take(root, &problems)
        if let error = problems.error(path: path) { throw error }
        return configuration
    }

    private static func failure(_ path: String, _ message: String) -> ConfigurationError {
        ConfigurationError(path: path, problems: [.init(line: nil, message: message)])
    }

    private mutating func take(_ root: Table, _ problems: inout Problems) {
        var fields = Fields(root, path: "")
        func section(_ name: String, _ problems: inout Problems) -> Fields {
            Fields(fields.take(name, .table, &problems) ?? Table(line: 1), path: name)
        }
        var table = section("daemon", &problems)
        take(daemon: &table, &problems)
        table = section("metrics", &problems)
        table.take("listen", .listen, into: &metrics.listen, &problems)
        table.take("max_connections", .integer(1...1024, of: "connections"), into: &metrics.maxConnections, &problems)
        table.finish(&problems)
        table = section("log", &problems)
        table.take("level", .word, into: &log.level, &problems)
        table.take("format", .word, into: &log.format, &problems)
        table.finish(&problems)
        table = section("redirection", &problems)
        table.take("proof_timeout", .duration(ms(10)...s(600)), into: &redirection.proofTimeout, &problems)
        table.take("require_proof", .flag, into: &redirection.requireProof, &problems)
        table.finish(&problems)
        table = section("bracket", &problems)
        table.take("max_rate", .integer(0...1_000_000_000, of: "frames a second"), into: &bracket.maxRate, &problems)
        table.take("timeout", .duration(s(1)...s(86_400)), into: &bracket.timeout, &problems)
        table.finish(&problems)
        table = section("announce", &problems)
        table.take("count", .integer(0...100, of: "announcements"), into: &announce.count, &problems)
        table.take("interval", .duration(ms(1)...s(10)), into: &announce.interval, &problems)
        table.finish(&problems)
        table = section("ask", &problems)
        table.take("enabled", .flag, into: &ask.enabled, &problems)
        table.finish(&problems)
        table = section("replay", &problems)
        table.take("mode", .word, into: &replay.mode, &problems)
        table.finish(&problems)
        table = section("libvirt", &problems)
        table.take("events_command", .command, into: &libvirt.eventsCommand, &problems)
        table.finish(&problems)
        take(guests: fields.take("guest", .tables, &problems) ?? [], &problems)
        fields.finish(&problems)
    }

    private mutating func take(daemon table: inout Fields, _ problems: inout Problems) {
        table.take("state", .path("a folder"), into: &daemon.state, &problems)
        table.take("act", .flag, into: &daemon.act, &problems)
        table.take("resync_interval", .duration(s(60)...s(86_400)), into: &daemon.resyncInterval, &problems)
        table.take(
            "receive_buffer", .integer((64 << 10)...(1 << 30), of: "bytes"), into: &daemon.receiveBuffer, &problems)
        table.take("repair_burst", .integer(1...1000, of: "repairs"), into: &daemon.repairBurst, &problems)
        table.take("repair_backoff_initial", .duration(ms(10)...s(3600)), into: &daemon.repairBackoffInitial, &problems)
        table.take("repair_backoff_limit", .duration(ms(10)...s(86_400)), into: &daemon.repairBackoffLimit, &problems)
        table.take("departure_silence", .duration(s(1)...s(3600)), into: &daemon.departureSilence, &problems)
        if daemon.repairBackoffLimit < daemon.repairBackoffInitial {
            problems.add(
                line: table.line("repair_backoff_limit") ?? table.line("repair_backoff_initial"),
                "daemon.repair_backoff_limit must be at least daemon.repair_backoff_initial, "
                    + DurationText.text(daemon.repairBackoffInitial))
        }
        table.finish(&problems)
    }

    private mutating func take(guests tables: [Table], _ problems: inout Problems) {
        var lines: [GuestID: Int] = [:]
        for (number, table) in tables.enumerated() {
            guard let guest = Guest(table, path: "guest[\(number)]", &problems) else { continue }
            let line = table.entries["id"]?.line ?? table.line
            if let first = lines[guest.id] {
                problems.add(line: line, "guest \(guest.id) is configured already, in line \(first)")
                continue
            }
            lines[guest.id] = line
            guests.append(guest)
        }
        requireCompatible(lines, &problems)
    }
}

extension DaemonConfiguration.Guest {
    /// - Returns: nil if there is no usable id, which is reported.
    fileprivate init?(_ table: Table, path: String, _ problems: inout Problems) {
        var fields = Fields(table, path: path)
        let id = fields.take("id", .guestID, &problems)
        if fields.line("id") == nil { problems.add(line: table.line, "\(path).id is missing") }
        // The rest of the table is read in any case, to report what else is wrong.
        guard let placeholder = id ?? (try? GuestID("unnamed")) else { return nil }
        self.init(id: placeholder)
        fields.take("act", .flag, into: &act, &problems)
        fields.take("return_to_primary", .word, into: &returnToPrimary, &problems)
        // sockaddr_un.sun_path has 108 bytes, including the NUL.
        fields.take("qmp", .path("a socket", most: 107), into: &qmp, &problems)
        fields.take("domain", .domain, into: &domain, &problems)
        let declared: GuestKind? = fields.take("kind", .word, &problems)
        kind = declared ?? .unknown
        fields.take("standby_device", .deviceID, into: &standbyDevice, &problems)
        fields.take("primary_device", .deviceID, into: &primaryDevice, &problems)
        fields.take("follow", .flag, into: &follow, &problems)
        fields.take("follow_rx_filter", .flag, into: &followRXFilter, &problems)
        fields.take("rx_filter_limit", .integer(1...1024, of: "addresses"), into: &rxFilterLimit, &problems)
        fields.take("ask", .flag, into: &ask, &problems)
        replay = fields.take("replay", .word, &problems)
        // The second is the name of earlier versions.
        let names = ["ip", "addresses_ip"]
        for name in names { fields.take(name, .addresses, into: &addressesIP, &problems) }
        if names.allSatisfy({ fields.line($0) != nil }) {
            problems.add(line: fields.line(names[1]), "\(path).addresses_ip is an earlier name of ip: leave it out")
        }
        take(preparation: &fields, path: path, declared, &problems)
        fields.finish(&problems)
        if follow, qmp == nil, domain == nil {
            problems.add(
                line: fields.line("follow"),
                "\(path).follow needs \(path).qmp, the socket of QEMU's monitor, or \(path).domain, libvirt's name of it"
            )
        }
        if replay == .replay, !follow || qmp == nil {
            problems.add(
                line: fields.line("replay"),
                "\(path).replay needs \(path).follow and \(path).qmp, the socket of QEMU's monitor")
        }
        if let standbyDevice, standbyDevice == primaryDevice {
            problems.add(
                line: fields.line("primary_device"),
                "\(path).primary_device and \(path).standby_device are the same, \(standbyDevice)")
        }
        if preparation != nil, preparation?.primary == nil, returnToPrimary == .whenBack {
            problems.add(
                line: fields.line("return_to_primary"),
                "\(path).return_to_primary: a guest with one port has no primary")
        }
        if followRXFilter, qmp == nil {
            problems.add(
                line: fields.line("follow_rx_filter"),
                "\(path).follow_rx_filter needs \(path).qmp, the socket of QEMU's monitor")
        }
        if qmp != nil, domain != nil {
            problems.add(
                line: fields.line("domain"), "\(path).domain and \(path).qmp tell of the same events: name one of them")
        }
        if id == nil { return nil }
    }

    /// Reads the keys that are named as the options of `prepare`. The bridge is the one that makes them count.
    private mutating func take(
        preparation fields: inout Fields, path: String, _ kind: GuestKind?, _ problems: inout Problems
    ) {
        let before = problems.count
        var options = PreparationOptions()
        (options.kind, options.ips) = (kind, addressesIP)
        let bridge = fields.take("bridge", .interface, &problems)
        fields.take("primary", .port, into: &options.primary, &problems)
        fields.take("standby", .port, into: &options.standby, &problems)
        fields.take("port", .port, into: &options.port, &problems)
        fields.take("uplink", .port, into: &options.uplink, &problems)
        fields.take("pf", .interface, into: &options.pf, &problems)
        let vf = fields.take("vf", .integer(0...4095, of: "a VF"), &problems)
        options.vf = vf.map(UInt32.init)
        fields.take("address", .macs, into: &options.addresses, &problems)
        fields.take("neighbour", .interfaces, into: &options.neighbours, &problems)
        fields.take("at", .word, into: &options.side, &problems)
        let leak: Leak? = fields.take("leak", .word, &problems)
        options.allowsLeak = leak == .allow
        let isUnguarded = fields.take("no_guard", .flag, &problems)
        options.isGuarded = isUnguarded != true
        fields.take("gate", .flag, into: &options.isGated, &problems)
        guard let bridge else {
            for key in DaemonConfiguration.Guest.preparing where fields.line("bridge") == nil {
                guard let line = fields.line(key) else { continue }
                problems.add(line: line, "\(path).\(key) needs \(path).bridge: with that the daemon prepares the guest")
            }
            return
        }
        options.bridge = bridge
        // What is missing because it could not be read has been reported.
        guard problems.count == before else { return }
        do throws(ControllerError) {
            preparation = try options.request(id)
        } catch {
            let remedy = error.remedy.map { " (\($0))" } ?? ""
            problems.add(line: fields.line("bridge"), "\(path) (\(id)) cannot be prepared: \(error.message)\(remedy)")
        }
        if options.isGated, options.uplink == nil || options.pf != nil {
            problems.add(
                line: fields.line("gate"),
                options.pf == nil
                    ? "\(path).gate needs \(path).uplink: a gate is closed while the guest is on another host"
                    : "\(path).gate: the port of a NIC in legacy mode serves others, who would be locked out")
        }
    }

    /// The keys that say how it is prepared.
    private static let preparing = [
        "primary", "standby", "port", "uplink", "pf", "vf", "address", "neighbour", "at", "leak", "no_guard", "gate",
    ]

    /// What to do if the switch floods the frames of a guest on its standby to other ports.
    private enum Leak: String, CaseIterable { case refuse, allow }
}

extension Kind where Value == Table {
    fileprivate static var table: Kind {
        Kind(words: "a table") { node in if case .table(let table) = node { table } else { nil } }
    }
}

extension Kind where Value == [Table] {
    fileprivate static var tables: Kind {
        Kind(words: "tables, each headed by [[guest]]") { node in
            guard case .array(let nodes) = node else { return nil }
            let tables = nodes.compactMap { node -> Table? in
                if case .table(let table) = node { table } else { nil }
            }
            return tables.count == nodes.count ? tables : nil
        }
    }
}

extension Kind where Value == GuestID {
    fileprivate static var guestID: Kind {
        Kind(words: "1 to 64 letters, digits, '.', '_', ':' or '-', beginning with a letter or digit") { node in
            if case .string(let text) = node { try? GuestID(text) } else { nil }
        }
    }
}

extension Kind where Value == ListenAddress? {
    fileprivate static var listen: Kind {
        Kind(words: "an IP address and port, such as \"127.0.0.1:9923\" or \"[::1]:9923\", or \"off\"") { node in
            guard case .string(let text) = node else { return nil }
            return text == "off" ? .some(nil) : ListenAddress(text).map { .some($0) }
        }
    }
}

private func ms(_ count: Int64) -> Int64 { count * 1_000_000 }
private func s(_ count: Int64) -> Int64 { count * 1_000_000_000 }
