import FDB
import Switchdev
import TestSupport

@testable import Policy

extension Situation {
    /// A prepared guest with nothing wrong, or with up to three of the changes of the cases and of others beside.
    static func random(_ dice: inout Dice) throws -> Situation {
        var it = Situation()
        if dice.once(in: 4) { try it.filterVLANs() }
        it.isPrepared = true
        it.isSticky = dice.once(in: 4)
        if !dice.once(in: 4) {
            it.primary.portFlags.remove(.learning)
            it.standby.portFlags.remove(.learning)
        }
        it.side = Side.allCases.randomElement(using: &dice) ?? .primary
        for _ in 0..<Int.random(in: 0...3, using: &dice) {
            if dice.once(in: 2) {
                try PreflightTests.cases.randomElement(using: &dice)?.change(&it)
            } else {
                try it.change(&dice)
            }
        }
        return it
    }

    /// One change of what a switch reads.
    private mutating func change(_ dice: inout Dice) throws {
        let flags: [BridgePort.Flags] = [
            .learning, .flood, .multicastFlood, .broadcastFlood, .hairpin, .isolated, .locked, .neighbourSuppression,
            .bpduGuard,
        ]
        let flag = flags.randomElement(using: &dice) ?? .learning
        let port = [\Situation.primary, \.standby, \.uplink].randomElement(using: &dice) ?? \.primary
        let address = addresses.randomElement(using: &dice)
        switch Int.random(in: 0..<14, using: &dice) {
        case 0: self[keyPath: port].portFlags.formSymmetricDifference(flag)
        case 1:
            primary.portFlags.formSymmetricDifference(flag)
            standby.portFlags.formSymmetricDifference(flag)
        case 2: self[keyPath: port].mtu = [1400, 1500, 9000].randomElement(using: &dice) ?? 1500
        case 3: self[keyPath: port].isUp.toggle()
        case 4: self[keyPath: port].hasCarrier.toggle()
        case 5: self[keyPath: port].state = [.blocking, .disabled, .learning].randomElement(using: &dice) ?? .disabled
        case 6: self[keyPath: port].master = [nil, 9].randomElement(using: &dice) ?? nil
        case 7: self[keyPath: port].switchID = 7
        case 8: self[keyPath: port].mac = address.map { $0.mac.value }
        case 9: movesFilters = true
        case 10: uplinkIsStandby = true
        case 11: bridge.ageingTime = 0
        case 12: addresses.append(try Address("52:54:00:00:00:02"))
        default:
            guard let address else { return }
            let state: EntryState = [.permanent, .noARP, .reachable].randomElement(using: &dice) ?? .noARP
            let place: Int32 = [3, 4, 5, 6, 12].randomElement(using: &dice) ?? 5
            try add(
                address.description, port: place, state: state, flags: dice.once(in: 2) ? .sticky : [])
        }
    }
}
