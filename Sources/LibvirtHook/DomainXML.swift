/// The network interfaces in a libvirt domain's XML (formatdomain.html), which hooks get on standard input.
package struct DomainXML: Hashable, Sendable {
    /// A network interface, or a PCI device that is one half of a failover pair.
    package struct Device: Hashable, Sendable {
        /// `bridge`, `network`, `hostdev`, ...; `pci` for a plain `<hostdev>`.
        package var type: String
        /// The MAC as written.
        package var mac: String?
        /// The bridge of which the tap is a port.
        package var bridge: String?
        /// The name of the tap.
        package var tap: String?
        /// The host's PCI address, `0000:03:00.2`.
        package var pci: String?
        /// The device's name in the domain.
        package var alias: String?
        /// `persistent` (the standby) or `transient` (the primary).
        package var teaming: String?
        /// For a transient device, the alias of its standby.
        package var persistent: String?
        /// VLAN ids.
        package var vlans: [String] = []
    }

    /// The domain's name.
    package private(set) var name = ""
    /// The domain's UUID.
    package private(set) var uuid = ""
    /// The devices in the order of the text.
    package private(set) var devices: [Device] = []

    /// The size limit of the text in bytes; the XML of domains with hundreds of devices has some 100 KB.
    package static let limit = 4 << 20

    /// The reason why a text is not a domain.
    package struct Failure: Error, Hashable, Sendable, CustomStringConvertible {
        /// The reason in words.
        package let description: String
    }

    /// Reads a domain's XML.
    ///
    /// - Throws: ``Failure``.
    package init(_ bytes: [UInt8]) throws(Failure) {
        guard bytes.count <= DomainXML.limit else {
            throw Failure(description: "the domain's XML is longer than \(DomainXML.limit) bytes")
        }
        let reading = Reading()
        do throws(XMLScanner.Failure) {
            try XMLScanner.scan(bytes, open: { reading.open($0, $1) }, text: { reading.text($0, $1) })
        } catch {
            throw Failure(description: "the domain's XML cannot be read: \(error)")
        }
        guard reading.isDomain else { throw Failure(description: "the XML on standard input is no domain's") }
        name = reading.name
        uuid = reading.uuid
        devices = reading.devices
    }

    /// The failover pairs: each standby with the primary that names it.
    package var pairs: [(standby: Device, primary: Device)] {
        var standbys: [String: Device] = [:]
        for device in devices where device.teaming == "persistent" {
            if let alias = device.alias, standbys[alias] == nil { standbys[alias] = device }
        }
        return devices.filter { $0.teaming == "transient" }.compactMap { primary in
            primary.persistent.flatMap { standbys[$0] }.map { ($0, primary) }
        }
    }

    /// The interfaces that are ports of a bridge, and no half of a failover pair.
    package var singles: [Device] { devices.filter { $0.type != "pci" && $0.teaming == nil && $0.bridge != nil } }

    private final class Reading {
        var isDomain = false
        var name = ""
        var uuid = ""
        var devices: [Device] = []

        func open(_ path: [String], _ attributes: [String: String]) {
            if path == ["domain"] { isDomain = true }
            guard path.count >= 3, path[0] == "domain", path[1] == "devices",
                path[2] == "interface" || path[2] == "hostdev"
            else { return }
            if path.count == 3 {
                let type = attributes["type"] ?? ""
                return devices.append(Device(type: path[2] == "hostdev" ? "pci" : type))
            }
            guard let last = devices.indices.last else { return }
            switch path[3...].joined(separator: "/") {
            case "mac": devices[last].mac = attributes["address"]
            case "source": devices[last].bridge = attributes["bridge"]
            case "source/address": devices[last].pci = pciAddress(attributes)
            case "target": devices[last].tap = attributes["dev"]
            case "alias": devices[last].alias = attributes["name"]
            case "teaming":
                devices[last].teaming = attributes["type"]
                devices[last].persistent = attributes["persistent"]
            case "vlan/tag":
                if let id = attributes["id"] { devices[last].vlans.append(id) }
            default: break
            }
        }

        func text(_ path: [String], _ piece: String) {
            if path == ["domain", "name"] { name += piece }
            if path == ["domain", "uuid"] { uuid += piece }
        }

        /// Joins an address that libvirt writes as `domain='0x0000' bus='0x03' slot='0x00' function='0x2'`.
        private func pciAddress(_ attributes: [String: String]) -> String? {
            func number(_ name: String, below limit: UInt32) -> UInt32? {
                guard let text = attributes[name] else { return nil }
                let isHexadecimal = text.hasPrefix("0x")
                let value = UInt32(isHexadecimal ? text.dropFirst(2) : text[...], radix: isHexadecimal ? 16 : 10)
                return value.flatMap { $0 < limit ? $0 : nil }
            }
            guard attributes["type"] == nil || attributes["type"] == "pci",
                let domain = number("domain", below: .max), let bus = number("bus", below: 256),
                let slot = number("slot", below: 32), let function = number("function", below: 8)
            else { return nil }
            return HookConfiguration.pciAddress(domain: domain, bus: bus, slot: slot, function: function)
        }
    }
}
