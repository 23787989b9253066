import JSON
import Lab

/// The bridges of the calling thread's namespace as iproute2 shows them: a judge that shares no decoder with fdbsteer.
struct ChaosKernel {
    /// An entry of a bridge's table.
    struct Entry: Hashable {
        let mac: String
        let port: String
        /// `static`, `permanent`, or empty for a dynamic one.
        let state: String
        /// `sticky`, `extern_learn` and so on.
        let flags: Set<String>
        let vlan: Int64?

        var words: String {
            "\(mac) dev \(port) \(([state.isEmpty ? "dynamic" : state] + flags.sorted()).joined(separator: " "))"
        }
    }

    /// A bridge port.
    struct Port {
        let ifindex: Int64
        let bridge: String
        /// It forwards, is up and has a carrier.
        let works: Bool
        /// The settings that ``ChaosPort/defaults`` names, and `backup_port`.
        let flags: [String: String]
    }

    /// Without the bridges' and ports' own addresses.
    let entries: [Entry]
    let ports: [String: Port]
    /// The permanent neighbours: MACs by interface and IP address, `br0 192.0.2.7`.
    let neighbours: [String: String]

    /// Reads both.
    ///
    /// - Throws: ``LabError``.
    init() throws {
        entries = try ChaosKernel.objects(["bridge", "-d", "-j", "fdb", "show"]).compactMap { object in
            guard let mac = object["mac"]?.text, let port = object["ifname"]?.text, object["master"] != nil,
                object["state"]?.text != "permanent", !mac.hasPrefix("33:33")
            else { return nil }
            let flags = (object["flags"]?.elements ?? []).compactMap(\.text)
            return Entry(
                mac: mac, port: port, state: object["state"]?.text ?? "",
                flags: Set(flags.filter { $0 != "master" && $0 != "offload" }), vlan: object["vlan"]?.integer)
        }
        var ports: [String: Port] = [:]
        for object in try ChaosKernel.objects(["bridge", "-d", "-j", "link", "show"]) {
            guard let name = object["ifname"]?.text, let index = object["ifindex"]?.integer,
                let bridge = object["master"]?.text
            else { continue }
            var flags: [String: String] = [:]
            for (key, _) in ChaosPort.defaults { flags[key] = object[key].map(\.description) }
            flags["backup_port"] = object["backup_port"]?.text
            let works = (object["flags"]?.elements ?? []).contains { $0.text == "LOWER_UP" }
            ports[name] = Port(
                ifindex: index, bridge: bridge, works: works && object["state"]?.text == "forwarding", flags: flags)
        }
        self.ports = ports
        var neighbours: [String: String] = [:]
        for object in try ChaosKernel.objects(["ip", "-j", "neigh", "show", "nud", "permanent"]) {
            guard let address = object["dst"]?.text, let name = object["dev"]?.text else { continue }
            neighbours["\(name) \(address)"] = object["lladdr"]?.text
        }
        self.neighbours = neighbours
    }

    /// The entry of an address on a bridge, without a VLAN: bridges filter none while one looks.
    func entry(_ mac: String, on bridge: String) -> Entry? {
        entries.first { $0.mac == mac && $0.vlan == nil && ports[$0.port]?.bridge == bridge }
    }

    /// The port of an index.
    func port(_ ifindex: Int64?) -> (name: String, port: Port)? {
        ports.first { $0.value.ifindex == ifindex }.map { ($0.key, $0.value) }
    }

    private static func objects(_ words: [String]) throws -> [JSON] {
        let command = try Command.run(words)
        guard command.exitCode == 0, let elements = JSON(text: command.output)?.elements else {
            throw LabError("\(words.joined(separator: " ")): \(command.errors)\(command.output.prefix(200))")
        }
        return elements
    }
}
