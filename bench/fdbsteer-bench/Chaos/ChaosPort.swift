import Glibc
import Lab

/// A bridge of the model.
final class ChaosBridge {
    let number: Int
    /// The name that it has now.
    var name: String
    let home: String
    /// How often it was made.
    var incarnation = 0

    init(_ number: Int) {
        self.number = number
        home = "br\(number)"
        name = home
    }
}

/// A veth pair of the model: one end is a bridge port, the other is where a guest, a neighbour or the network is.
final class ChaosPort {
    /// The settings of a port that others may change, as a new port has them.
    static let defaults: [String: String] = [
        "learning": "true", "flood": "true", "mcast_flood": "true", "bcast_flood": "true", "hairpin": "false",
        "guard": "false", "isolated": "false", "locked": "false", "neigh_suppress": "false", "priority": "32",
        "cost": "2",
    ]

    /// The name that it was made with; the far end's is this with `-far`.
    let home: String
    /// The name that it has now.
    var name: String
    /// The other end, where frames are sent and received.
    var far: String { home + "-far" }
    let homeBridge: ChaosBridge
    /// The bridge that it is in; nil for none.
    var bridge: ChaosBridge?
    /// It has not been removed.
    var exists = true
    /// It is in the namespace of the bridges.
    var isHere = true
    var isUp = true
    var farIsUp = true
    /// Its settings as all others but fdbsteer left them.
    var flags = ChaosPort.defaults
    /// The queueing discipline of somebody else on it, as `tc` shows it; nil for none.
    var foreignFilters: String?

    /// ETH_P_ALL.
    private static let allFrames: UInt16 = 3
    /// A packet socket on the far end, kept because closing one waits for the kernel's readers; -1 for none yet.
    private var descriptor: Int32 = -1

    init(_ home: String, _ bridge: ChaosBridge) {
        self.home = home
        name = home
        homeBridge = bridge
    }

    deinit { closeFarEnd() }

    /// Lends a packet socket on the far end, unless there is nobody.
    func withFarEnd(_ body: (Int32) -> Void) {
        guard exists, farIsUp else { return }
        if descriptor < 0 {
            descriptor = (try? Interface.open(far, type: ChaosPort.allFrames, receiveBuffer: 1 << 20)) ?? -1
        }
        if descriptor >= 0 { body(descriptor) }
    }

    /// The far end is about to go.
    func closeFarEnd() {
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
    }

    /// It is in its own bridge, up, and has somebody behind it.
    var isUsable: Bool { exists && isHere && bridge === homeBridge && isUp && farIsUp }

    /// Makes the pair and puts it into its bridge.
    ///
    /// - Throws: ``LabError``.
    func make() throws {
        name = home
        (exists, isHere, isUp, farIsUp) = (true, true, true, true)
        try Command.script(
            """
            ip link add \(home) type veth peer name \(far)
            ip link set \(home) addrgenmode none
            ip link set \(far) addrgenmode none
            ip link set \(home) up
            ip link set \(far) up
            """)
        foreignFilters = nil
        try join(homeBridge)
    }

    /// Puts it into a bridge, as a port with the settings of a new one, and waits until it forwards.
    ///
    /// - Throws: ``LabError``.
    func join(_ bridge: ChaosBridge) throws {
        try Command.script("ip link set \(name) master \(bridge.name)")
        self.bridge = bridge
        flags = ChaosPort.defaults
        try waitUntilItForwards()
    }

    /// The kernel hears of a carrier from a work queue, up to a second later.
    func waitUntilItForwards() throws {
        guard isUsable else { return }
        for _ in 0..<1500 {
            let port = try Command.run(["bridge", "link", "show", "dev", name]).output
            if try port.contains("state forwarding")
                && Command.run(["ip", "link", "show", "dev", far]).output.contains("state UP")
            {
                return
            }
            usleep(2000)
        }
        throw LabError("\(name) does not forward: \(try Command.run(["ip", "link"]).output)")
    }
}

/// A guest of the model.
final class ChaosGuest {
    /// The sides, as fdbsteer names them; the one port of a guest without a pair, `local`, is here a standby.
    enum Place: String, CaseIterable { case primary, standby, remote }

    /// What a guest has beside its addresses.
    enum Trait { case onePort, gate, neighbour, followed }

    /// What the model knows about where the record may lead.
    enum Doubt {
        case none
        /// A verb was killed or failed half way: the guest is where the record says once nothing is under way.
        case untilPinned
        /// Something lied about it: it is served where the lie says until somebody redirects it.
        case untilSwitched
    }

    let number: Int
    var id: String { "vm\(number)" }
    let bridge: ChaosBridge
    let primary: ChaosPort
    let standby: ChaosPort
    let uplink: ChaosPort
    let addresses: [String]
    let kind: String
    private let traits: Set<Trait>
    /// The NIC, or the other host, with which the guest sends and receives.
    private(set) var place: Place
    var doubt = Doubt.none
    /// The entries of its addresses when it was prepared, by address; nil while it is not.
    var found: [String: ChaosKernel.Entry]?

    /// Addresses whose entries were found on a port that has left its bridge since.
    var lost: Set<String> = []
    /// The incarnation of the bridge on which it was prepared.
    var foundBridge = 0

    init(_ number: Int, _ bridge: ChaosBridge, uplink: ChaosPort, addresses: Int, kind: String, _ traits: Trait...) {
        self.number = number
        self.bridge = bridge
        self.uplink = uplink
        self.kind = kind
        self.traits = Set(traits)
        standby = ChaosPort("tap\(number)", bridge)
        primary = traits.contains(.onePort) ? standby : ChaosPort("vf\(number)", bridge)
        place = traits.contains(.onePort) ? .standby : .primary
        self.addresses = (0..<addresses).map { "52:54:00:c4:0\(number):0\($0)" }
    }

    /// It has one port on this host, which is its primary and its standby here.
    var hasOnePort: Bool { traits.contains(.onePort) }
    /// Its port is locked while it is on another host.
    var hasGate: Bool { traits.contains(.gate) }
    /// The daemon follows its monitor.
    var isFollowed: Bool { traits.contains(.followed) }
    /// The IP address whose neighbour on the bridge follows it; nil for none.
    var neighbour: String? { traits.contains(.neighbour) ? "192.0.2.\(100 + number)" : nil }
    /// Its ports on this host.
    var own: [ChaosPort] { hasOnePort ? [standby] : [primary, standby] }

    /// A side as fdbsteer names it.
    func word(_ place: Place) -> String { hasOnePort && place != .remote ? "local" : place.rawValue }

    /// The port of a side.
    func port(_ place: Place) -> ChaosPort {
        switch place {
        case .primary: primary
        case .standby: standby
        case .remote: uplink
        }
    }

    /// It changed to its standby by itself.
    var hasLostPrimary = false

    /// The guest changes to its standby when its primary goes away.
    func losePrimary() {
        guard place == .primary else { return }
        (place, hasLostPrimary) = (.standby, true)
    }

    /// The guest goes where it was redirected.
    func follow(to place: Place) {
        (self.place, doubt, hasLostPrimary) = (hasOnePort && place == .primary ? .standby : place, .none, false)
    }
}
