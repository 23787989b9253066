import Lab

/// VLANs of ports and their PVID change, where the kernel filters VLANs.
enum ChaosVLANs {
    static let family = ChaosFamily(weight: 3) { random in
        let number = random.guest()
        let isPrimary = Bool.random(using: &random)
        let action = Int.random(in: 0..<3, using: &random)
        let words = ["filter on or off", "PVID 7 and back", "VLAN 8 and away"][action]
        return ChaosOperation(kind: "vlan", words: "vlan \(words) at vm\(number)") { world in
            let guest = world.guests[number]
            let port = isPrimary ? guest.primary : guest.standby
            guard port.isUsable else { return }
            guard
                try Command.run(["ip", "link", "set", guest.bridge.name, "type", "bridge", "vlan_filtering", "0"])
                    .exitCode == 0
            else {
                world.skipped.insert("VLANs: this kernel has no CONFIG_BRIDGE_VLAN_FILTERING")
                return
            }
            switch action {
            case 0: try Command.script("ip link set \(guest.bridge.name) type bridge vlan_filtering 1")
            case 1:
                try Command.script(
                    """
                    bridge vlan add dev \(port.name) vid 7 pvid untagged
                    bridge vlan add dev \(port.name) vid 1 pvid untagged
                    bridge vlan del dev \(port.name) vid 7
                    """)
            default:
                try Command.script(
                    """
                    bridge vlan add dev \(port.name) vid 8
                    bridge vlan del dev \(port.name) vid 8
                    """)
            }
            try Command.script("ip link set \(guest.bridge.name) type bridge vlan_filtering 0")
        }
    }
}
