import Glibc
import Lab

/// Other programs change entries and settings, of guests' ports and of their own.
enum ChaosOthers {
    static let family = ChaosFamily(weight: 10) { random in
        let number = Int.random(in: 0..<3, using: &random)
        let mark = Int.random(in: 0..<6, using: &random)
        let isPrimary = Bool.random(using: &random)
        let flag = random.one(of: ["flood", "mcast_flood", "bcast_flood", "neigh_suppress", "cost", "priority"])
        let value = Int.random(in: 1...60, using: &random)
        switch Int.random(in: 0..<8, using: &random) {
        case 0:
            return ChaosOperation(kind: "others steal", words: "others steal vm\(number)'s entry") { world in
                try steal(world.guests[number], world)
            }
        case 1:
            return ChaosOperation(kind: "others delete", words: "others delete vm\(number)'s entry") { world in
                try delete(world.guests[number])
            }
        case 2:
            return ChaosOperation(kind: "others learning", words: "others switch vm\(number)'s learning on") { world in
                let guest = world.guests[number]
                try setLearning(isPrimary ? guest.primary : guest.standby, world, on: true)
            }
        case 3:
            return ChaosOperation(kind: "others no learning", words: "others switch vm\(number)'s learning off") {
                world in
                let guest = world.guests[number]
                // What is switched off beside a prepared guest cannot be told from what fdbsteer did.
                guard guest.found == nil else { return }
                try setLearning(isPrimary ? guest.primary : guest.standby, world, on: false)
            }
        case 4:
            return ChaosOperation(kind: "others pin", words: "others make vm\(number)'s entry static") { world in
                try pin(world.guests[number], world)
            }
        case 5:
            return ChaosOperation(kind: "others entry", words: "others add an entry \(mark) to vm\(number)'s bridge") {
                world in
                let bridge = world.guests[number].bridge
                let port = mark < 3 ? world.neighbours[bridge.number] : world.uplinks[bridge.number]
                let mac = "52:54:00:c4:dd:\(bridge.number)\(mark)"
                if mark == 5 {
                    try world.addEntry(mac, behind: port, "extern_learn")
                } else {
                    try world.addEntry(mac, behind: port)
                }
            }
        default:
            return ChaosOperation(kind: "others flag", words: "others change \(flag) of a port of vm\(number)") {
                world in
                let guest = world.guests[number]
                let port = [guest.primary, guest.standby, guest.uplink, world.neighbours[guest.bridge.number]][mark % 4]
                try change(flag, port, value)
            }
        }
    }

    private static func steal(_ guest: ChaosGuest, _ world: ChaosWorld) throws {
        let thief = world.neighbours[guest.bridge.number]
        guard guest.found != nil, thief.isUsable else { return }
        _ = try Command.run(["bridge", "fdb", "replace", guest.addresses[0], "dev", thief.name, "master", "dynamic"])
    }

    private static func delete(_ guest: ChaosGuest) throws {
        for place in ChaosGuest.Place.allCases {
            let port = guest.port(place)
            guard port.exists, port.isHere, port.bridge != nil else { continue }
            _ = try Command.run(["bridge", "fdb", "del", guest.addresses[0], "dev", port.name, "master"])
        }
    }

    private static func setLearning(_ port: ChaosPort, _ world: ChaosWorld, on: Bool) throws {
        guard port.exists, port.isHere, port.bridge != nil else { return }
        try Command.script("bridge link set dev \(port.name) learning \(on ? "on" : "off")")
        guard !world.guests.contains(where: { $0.found != nil && ($0.primary === port || $0.standby === port) }) else {
            return
        }
        port.flags["learning"] = on ? "true" : "false"
    }

    /// An operator's own static entry, from before the guest is prepared.
    private static func pin(_ guest: ChaosGuest, _ world: ChaosWorld) throws {
        let port = guest.port(guest.place)
        guard guest.found == nil, guest.place != .remote, port.isUsable else { return }
        try Command.script("bridge fdb replace \(guest.addresses[0]) dev \(port.name) master static")
    }

    private static func change(_ flag: String, _ port: ChaosPort, _ value: Int) throws {
        guard port.exists, port.isHere, port.bridge != nil else { return }
        let isNumber = flag == "cost" || flag == "priority"
        let text = isNumber ? "\(value)" : value % 2 == 0 ? "on" : "off"
        try Command.script("bridge link set dev \(port.name) \(flag) \(text)")
        port.flags[flag] = isNumber ? "\(value)" : value % 2 == 0 ? "true" : "false"
    }
}

/// VLANs of ports and their PVID change, where the kernel filters VLANs.
enum ChaosVLANs {
    static let family = ChaosFamily(weight: 3) { random in
        let number = Int.random(in: 0..<3, using: &random)
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

/// Frames with a guest's address from where the guest is not, and its own.
enum ChaosFrames {
    static let family = ChaosFamily(weight: 8) { random in
        let number = Int.random(in: 0..<3, using: &random)
        let count = random.one(of: [1, 2, 3, 20])
        let gap = random.one(of: [0, 1000, 10_000, 40_000])
        let place = random.one(of: ["neighbour", "uplink", "guest"])
        return ChaosOperation(
            kind: "frames \(place)", words: "frames of vm\(number): \(count) by the \(place), \(gap) us apart"
        ) { world in
            let guest = world.guests[number]
            let port =
                switch place {
                case "neighbour": world.neighbours[guest.bridge.number]
                case "uplink": guest.uplink
                default: guest.port(guest.place)
                }
            for _ in 0..<count {
                try send(from: port, source: guest.addresses[0])
                usleep(UInt32(gap))
            }
        }
    }

    /// Sends a broadcast frame into a port from its far end; nothing when there is nobody behind it.
    static func send(from port: ChaosPort, source: String) throws {
        guard port.exists, port.farIsUp, let output = try? Interface.open(port.far, type: 0x88b5, receiveBuffer: 0)
        else {
            return
        }
        defer { close(output) }
        let frame =
            [UInt8](repeating: 0xff, count: 6) + Interface.octets(source) + [0x88, 0xb6]
            + [UInt8](repeating: 0, count: 46)
        _ = Glibc.send(output, frame, frame.count, 0)
    }

    /// Whether a frame to an address arrives at a far end, while the one that has the address sends a frame each tenth of a
    /// second. It waits a second at most.
    static func arrives(_ address: String, from source: ChaosPort, at place: ChaosPort) throws -> Bool {
        for _ in 0..<10 {
            try send(from: place, source: address)
            let probe = FrameProbe(to: address, from: ChaosWorld.peer)
            if let found = try? probe.send(from: source.far, lookingAt: place.far), !found.isEmpty { return true }
        }
        return false
    }
}

/// The state folder has no space left, and has space again.
enum ChaosFolders {
    static let family = ChaosFamily(weight: 3) { random in
        let steps = Int.random(in: 1...4, using: &random)
        return ChaosOperation(kind: "folder full", words: "folder full for \(steps) operations") { world in
            _ = try Command.run(["dd", "if=/dev/zero", "of=\(world.state)/filling", "bs=4k"])
            world.fullSteps = steps + 1
        }
    }

    /// A step has passed.
    static func age(_ world: ChaosWorld) {
        guard world.isFull else { return }
        world.fullSteps -= 1
        if !world.isFull { empty(world) }
    }

    /// It has space again.
    static func empty(_ world: ChaosWorld) {
        unlink(world.state + "/filling")
        world.fullSteps = 0
    }
}
