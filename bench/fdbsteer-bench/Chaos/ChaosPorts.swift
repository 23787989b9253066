import Glibc
import Lab

/// Ports are renamed, removed, made anew, moved, and lose their carrier.
enum ChaosPorts {
    static let family = ChaosFamily(weight: 14) { random in
        let names = ["up0", "up1", "nb0", "nb1", "vf0", "tap0", "vf1", "tap1", "vf2", "tap2", "tap3", "tap4"]
        let number = Int.random(in: 0..<names.count, using: &random)
        let name = names[number]
        let tag = Int.random(in: 0..<100, using: &random)
        let actions: [(kind: String, act: (ChaosPort, ChaosWorld) throws -> Void)] = [
            ("rename", { port, _ in try rename(port, tag) }), ("rename", { port, _ in try rename(port, tag) }),
            ("remove", remove),
            (
                "make anew",
                { port, world in
                    try remove(port, world); try restore(port, world)
                }
            ),
            ("leave", leave),
            (
                "leave and come back",
                { port, world in
                    try leave(port, world); try restore(port, world)
                }
            ),
            ("to another bridge", move), ("to another namespace", emigrate), ("restore all", restoreAll),
            ("restore all", restoreAll), ("restore all", restoreAll), ("restore all", restoreAll),
            ("carrier", flap), ("carrier", flap), ("down", { port, _ in try set(port, up: false) }),
        ]
        let action = random.one(of: actions)
        return ChaosOperation(kind: "port \(action.kind)", words: "port \(name): \(action.kind)") { world in
            try action.act(world.ports[number], world)
        }
    }

    private static func rename(_ port: ChaosPort, _ tag: Int) throws {
        guard port.exists, port.isHere else { return }
        let name = port.name == port.home ? "\(port.home)r\(tag)" : port.home
        try Command.script("ip link set \(port.name) name \(name)")
        port.name = name
    }

    /// What the model knows of a port that is no longer in its bridge.
    static func hasLeft(_ port: ChaosPort, _ world: ChaosWorld) {
        world.forgetEntries(of: port)
        for guest in world.guests where guest.primary === port { guest.losePrimary() }
        // The kernel drops what others had pinned there, and what has been moved there since; whether it is put back elsewhere is
        // up to fdbsteer, which says so.
        for guest in world.guests {
            let isThere = guest.port(guest.place) === port || guest.doubt != .none
            for (address, entry) in guest.found ?? [:] where isThere || entry.port.hasPrefix(port.home) {
                guest.lost.insert(address)
            }
        }
    }

    static func remove(_ port: ChaosPort, _ world: ChaosWorld) throws {
        guard port.exists else { return }
        if !port.isHere { try immigrate(port, world) }
        port.closeFarEnd()
        try Command.script("ip link del \(port.name)")
        port.exists = false
        port.bridge = nil
        port.foreignFilters = nil
        hasLeft(port, world)
    }

    static func leave(_ port: ChaosPort, _ world: ChaosWorld) throws {
        guard port.exists, port.isHere, port.bridge != nil else { return }
        try Command.script("ip link set \(port.name) nomaster")
        port.bridge = nil
        hasLeft(port, world)
    }

    private static func move(_ port: ChaosPort, _ world: ChaosWorld) throws {
        guard port.exists, port.isHere, port.isUp, let other = world.bridges.first(where: { $0 !== port.homeBridge }),
            port.bridge !== other
        else { return }
        try leave(port, world)
        try port.join(other)
    }

    private static func emigrate(_ port: ChaosPort, _ world: ChaosWorld) throws {
        guard port.exists, port.isHere else { return }
        try Command.script("ip link set \(port.name) netns \(world.elsewhere.path)")
        port.isHere = false
        port.bridge = nil
        port.isUp = false
        port.foreignFilters = nil
        hasLeft(port, world)
    }

    private static func immigrate(_ port: ChaosPort, _ world: ChaosWorld) throws {
        let (name, here) = (port.name, world.hereWords)
        try world.elsewhere.run { try Command.script("ip link set \(name) netns \(here)") }
        port.isHere = true
    }

    /// Brings a port back to where it belongs, whatever has happened to it.
    static func restore(_ port: ChaosPort, _ world: ChaosWorld) throws {
        if !port.exists {
            try port.make()
            return
        }
        if !port.isHere { try immigrate(port, world) }
        if !port.isUp { try set(port, up: true) }
        if !port.farIsUp { try setFar(port, up: true) }
        if port.bridge !== port.homeBridge {
            try leave(port, world)
            try port.join(port.homeBridge)
        }
        try port.waitUntilItForwards()
    }

    /// The host is as it was made, but for names.
    private static func restoreAll(_ port: ChaosPort, _ world: ChaosWorld) throws {
        for port in world.ports { try restore(port, world) }
    }

    /// The carrier goes, or comes back.
    private static func flap(_ port: ChaosPort, _ world: ChaosWorld) throws {
        guard port.exists, port.isHere else { return }
        try setFar(port, up: !port.farIsUp)
        try port.waitUntilItForwards()
    }

    /// The carrier of a port follows its far end.
    static func setFar(_ port: ChaosPort, up: Bool) throws {
        guard port.exists else { return }
        try Command.script("ip link set \(port.far) \(up ? "up" : "down")")
        port.farIsUp = up
    }

    private static func set(_ port: ChaosPort, up: Bool) throws {
        guard port.exists, port.isHere else { return }
        try Command.script("ip link set \(port.name) \(up ? "up" : "down")")
        port.isUp = up
    }
}

/// Bridges are renamed, and made anew under the same name.
enum ChaosBridges {
    static let family = ChaosFamily(weight: 3) { random in
        let number = Int.random(in: 0..<2, using: &random)
        let tag = Int.random(in: 0..<100, using: &random)
        if random.onceIn(3) {
            return ChaosOperation(kind: "bridge make anew", words: "bridge br\(number): make anew") { world in
                let bridge = world.bridges[number]
                for port in world.ports where port.bridge === bridge { try ChaosPorts.leave(port, world) }
                try Command.script("ip link del \(bridge.name)")
                try world.make(bridge)
                for port in world.ports where port.homeBridge === bridge { try ChaosPorts.restore(port, world) }
            }
        }
        return ChaosOperation(kind: "bridge rename", words: "bridge br\(number): rename") { world in
            let bridge = world.bridges[number]
            let name = bridge.name == bridge.home ? "\(bridge.home)r\(tag)" : bridge.home
            try Command.script("ip link set \(bridge.name) name \(name)")
            bridge.name = name
        }
    }
}
