import CNetlink
import FDB
import Netlink
import Switchdev
import Testing

@testable import Policy

/// Each finding of the pure function, from the smallest change of a faultless guest.
@Suite struct PreflightTests {
    struct Case: Sendable {
        let rule: Rule
        let severity: Finding.Severity
        let subject: String
        let name: String
        /// The other findings of the same change.
        let besides: Set<Finding.Code>
        let change: @Sendable (inout Situation) throws -> Void

        init(
            _ rule: Rule, _ severity: Finding.Severity, _ subject: String, _ name: String,
            besides: [Rule] = [], _ change: @escaping @Sendable (inout Situation) throws -> Void
        ) {
            self.rule = rule
            self.severity = severity
            self.subject = subject
            self.name = name
            self.besides = Set(besides.map(\.code))
            self.change = change
        }
    }

    @Test func nothingIsWrong() throws {
        #expect(try Situation().findings() == [])
        var filtering = Situation()
        try filtering.filterVLANs()
        #expect(try filtering.findings() == [])
        var switched = Situation()
        switched.makeSwitch(driver: "ice")
        switched.standby.switchID = 7
        #expect(try switched.findings() == [])
    }

    @Test(arguments: cases.map(\.name)) func finding(name: String) throws {
        let it = try #require(PreflightTests.cases.first { $0.name == name })
        var situation = Situation()
        try it.change(&situation)
        let findings = try situation.findings()
        let code = it.rule.code
        let finding = try #require(findings.first { $0.code == code && $0.subject == it.subject }, "\(findings)")
        #expect(finding.severity == it.severity)
        #expect(!finding.message.isEmpty)
        #expect(!finding.remedy.isEmpty)
        #expect(it.rule.severities.contains(finding.severity))
        #expect(finding.refuses.isSubset(of: it.rule.refuses))
        // Nothing else is found that would make preflight fail.
        #expect(findings.filter { $0.severity.isFailure && $0.code != code && !it.besides.contains($0.code) } == [])
    }

    @Test func everyRuleHasACaseOfEachSeverity() {
        for rule in Rule.all {
            let shown = PreflightTests.cases.filter { $0.rule.code == rule.code }.map(\.severity)
            #expect(Set(shown) == Set(rule.severities), "\(rule.code.rawValue)")
        }
        #expect(Set(Rule.all.map(\.code)).count == Rule.all.count)
        #expect(Set(PreflightTests.cases.map(\.name)).count == PreflightTests.cases.count)
    }

    @Test func theWorstComesFirst() throws {
        var situation = Situation()
        situation.standby.mtu = 1400
        situation.standby.isUp = false
        situation.features[6] = []
        let severities = try situation.findings().map(\.severity)
        #expect(severities == [.blocks, .loses, .costs])
    }

    @Test func whatIsWaivedNoLongerFails() throws {
        var situation = Situation()
        situation.standby.mtu = 1400
        let findings = try situation.findings()
        let report = PreflightReport(guest: nil, bridge: "br0", findings: findings, waiving: [], unseen: [])
        #expect(!report.ok && report.exitCode == 3 && report.findings.count == 1)
        let waived = PreflightReport(
            guest: nil, bridge: "br0", findings: findings, waiving: [PortRules.mtuSmaller.code], unseen: [])
        #expect(waived.ok && waived.exitCode == 0 && waived.findings.isEmpty && waived.waived == findings)
    }

    @Test func anUplinkThatIsTheStandbyIsNotMeasuredByThePrimary() throws {
        var situation = Situation()
        situation.primary.portFlags = [.learning]
        situation.uplinkIsStandby = true
        let codes = try situation.findings().map(\.code)
        // Only a record of an earlier version can have it.
        #expect(codes == [PresenceRules.samePort.code, CostRules.sharedPort.code])
    }

    /// The kernel disables the ports of a bridge that goes down.
    @Test func aBridgeThatIsDownIsTheOnlyCauseOfPortsThatItDisabled() throws {
        var situation = Situation()
        situation.isPrepared = true
        (situation.primary.portFlags, situation.standby.portFlags) = ([], [])
        situation.bridge.isUp = false
        (situation.primary.state, situation.standby.state, situation.uplink.state) = (.disabled, .disabled, .disabled)
        let down = try situation.verdict()
        #expect(down.findings.filter { $0.severity == .blocks }.map(\.code) == [PresenceRules.bridgeDown.code])
        for side in [Refusal.toPrimary, .toStandby, .toRemote, .bracket] {
            let error = #expect(throws: ControllerError.self) { try down.refuse(side) }
            #expect(error?.remedy == "ip link set br0 up")
        }
        // What is wrong with a port beside that is told.
        situation.standby.isUp = false
        #expect(try situation.findings().map(\.code).contains(PresenceRules.portDown.code))
        situation.bridge.isUp = true
        #expect(try situation.findings().map(\.code).contains(PresenceRules.notForwarding.code))
    }

    @Test func portsThatAreAllInOneOtherBridgeMeanThatBridge() throws {
        var situation = Situation()
        for port in [\Situation.primary, \.standby, \.uplink] { situation[keyPath: port].master = 9 }
        let error = #expect(throws: ControllerError.self) { try situation.verdict().refuse(.prepare) }
        #expect(error?.remedy == "did you mean --bridge other0?")
        situation.uplink.master = 3
        let partly = #expect(throws: ControllerError.self) { try situation.verdict().refuse(.prepare) }
        #expect(partly?.remedy?.contains("name a port of br0; or, if nobody needs it where it is") == true)
    }

    @Test func whatWasWaivedInVainIsSaid() throws {
        var situation = Situation()
        situation.standby.hasCarrier = false
        let error = #expect(throws: ControllerError.self) { try situation.verdict().refuse(.toStandby) }
        #expect(
            error?.despite([PresenceRules.noCarrier.code]).message.hasSuffix("; no-carrier cannot be waived here")
                == true)
        #expect(error?.despite([PortRules.mtuSmaller.code]) == error)
    }

    @Test func everythingCanBeWrongAtOnce() throws {
        var situation = Situation()
        for it in PreflightTests.cases { try it.change(&situation) }
        #expect(try !situation.findings().isEmpty)
    }

    // MARK: - The objects read

    @Test func featuresAreDecodedWithAndWithoutAMask() throws {
        for isList in [true, false] {
            var writer = MessageWriter(capacity: 1024)
            let reply = GenericRequest(family: MessageType(rawValue: 21), command: 11) { body in
                body.nest(Int(ETHTOOL_A_FEATURES_ACTIVE)) { set in
                    if isList {
                        set.put(Int(ETHTOOL_A_BITSET_NOMASK), bytes: UnsafeRawBufferPointer(start: nil, count: 0))
                    }
                    set.nest(Int(ETHTOOL_A_BITSET_BITS)) { bits in
                        for (name, isOn) in [("tx-tcp-segmentation", true), ("rx-gro", isList), ("highdma", true)] {
                            bits.nest(Int(ETHTOOL_A_BITSET_BITS_BIT)) { bit in
                                bit.put(Int(ETHTOOL_A_BITSET_BIT_NAME), text: name)
                                if isOn, !isList {
                                    bit.put(
                                        Int(ETHTOOL_A_BITSET_BIT_VALUE),
                                        bytes: UnsafeRawBufferPointer(start: nil, count: 0))
                                }
                            }
                        }
                    }
                }
            }
            let fits = writer.append(reply, sequence: 1)
            #expect(fits)
            let features = try OffloadFeatures(
                decoding: UnsafeRawBufferPointer(rebasing: writer.bytes.dropFirst(MessageHeader.size)))
            #expect(features == (isList ? [.tcpSegmentation, .receiveOffload] : .tcpSegmentation))
            #expect(features.words == (isList ? ["tso", "gro"] : ["tso"]))
        }
    }

    @Test func hostileBytesAreRefusedOrIgnored() throws {
        for size in 0..<64 {
            let bytes = [UInt8](repeating: 0xff, count: size)
            bytes.withUnsafeBytes { bytes in
                _ = try? OffloadFeatures(decoding: bytes)
                #expect(
                    (try? QueueingDiscipline(decoding: bytes)) == nil || size == MemoryLayout<tcmsg>.size || size < 24)
            }
        }
    }
}
