import Glibc
import Lab

/// Other programs change entries and settings, of guests' ports and of their own.
enum ChaosOthers {
    static let family = ChaosFamily(weight: 10) { random in
        let number = random.guest()
        let mark = Int.random(in: 0..<6, using: &random)
        let isPrimary = Bool.random(using: &random)
        let flag = random.one(of: ["flood", "mcast_flood", "bcast_flood", "neigh_suppress", "cost", "priority"])
        let value = Int.random(in: 1...60, using: &random)
        switch Int.random(in: 0..<10, using: &random) {
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
        case 6:
            return ChaosOperation(kind: "others gate", words: "others open the gate of vm4") { world in
                let port = world.guests[4].standby
                guard world.guests[4].found != nil, port.exists, port.isHere, port.bridge != nil else { return }
                try Command.script("bridge link set dev \(port.name) locked off")
            }
        case 7:
            return ChaosOperation(
                kind: "others neighbour", words: "others \(isPrimary ? "delete" : "change") a neighbour"
            ) {
                world in
                let guest = world.guests[2 + mark % 2]
                guard let address = guest.neighbour,
                    try ChaosKernel().neighbours["\(guest.bridge.name) \(address)"] != nil
                else { return }
                let change =
                    isPrimary
                    ? ["del", address] : ["replace", address, "lladdr", "52:54:00:c4:ee:99", "nud", "reachable"]
                _ = try Command.run(["ip", "neigh"] + change + ["dev", guest.bridge.name])
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
