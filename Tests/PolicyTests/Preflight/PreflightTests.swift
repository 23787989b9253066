import CNetlink
import FDB
import Netlink
import Switchdev
import Testing

@testable import Policy

/// Each finding of the pure function, from the smallest change of a faultless guest.
@Suite struct PreflightTests {
    struct Case: Sendable {
        let code: Finding.Code
        let severity: Finding.Severity
        let subject: String
        let name: String
        /// The other findings of the same change.
        let besides: Set<Finding.Code>
        let change: @Sendable (inout Situation) throws -> Void

        init(
            _ code: Finding.Code, _ severity: Finding.Severity, _ subject: String, _ name: String,
            besides: Set<Finding.Code> = [], _ change: @escaping @Sendable (inout Situation) throws -> Void
        ) {
            self.code = code
            self.severity = severity
            self.subject = subject
            self.name = name
            self.besides = besides
            self.change = change
        }
    }

    @Test func nothingIsWrong() throws {
        #expect(Preflight.findings(try Situation().input()) == [])
        var filtering = Situation()
        try filtering.filterVLANs()
        #expect(Preflight.findings(try filtering.input()) == [])
        var switched = Situation()
        switched.makeSwitch(driver: "ice")
        switched.standby.switchID = 7
        #expect(Preflight.findings(try switched.input()) == [])
    }

    @Test(arguments: cases.map(\.name)) func finding(name: String) throws {
        let it = try #require(PreflightTests.cases.first { $0.name == name })
        var situation = Situation()
        try it.change(&situation)
        let findings = Preflight.findings(try situation.input())
        let finding = try #require(findings.first { $0.code == it.code && $0.subject == it.subject }, "\(findings)")
        #expect(finding.severity == it.severity)
        #expect(!finding.message.isEmpty)
        #expect(finding.remedy != nil)
        // There is no other finding that would make preflight fail.
        #expect(findings.filter { $0.severity.isFailure && $0.code != it.code && !it.besides.contains($0.code) } == [])
    }

    /// A situation for which a switch skips the checks must have no findings.
    @Test func aPlainSituationHasNoFindings() throws {
        var plain = 0
        for it in PreflightTests.cases + [Case(.mtuSmaller, .loses, "", "nothing") { _ in }] {
            var situation = Situation()
            situation.primary.portFlags.remove(.learning)
            situation.standby.portFlags.remove(.learning)
            try it.change(&situation)
            situation.isPrepared = true
            let all = try situation.input()
            guard let guest = all.prepared else { continue }
            let observation = Observation(bridge: all.bridge, ports: all.ports, entries: [:])
            guard observation.isPlain(for: guest) else { continue }
            plain += 1
            var input = PreflightInput(
                bridgeName: all.bridgeName, bridge: all.bridge, names: all.names, ports: all.ports,
                addresses: all.addresses, links: observation.links)
            input.prepared = guest
            #expect(Preflight.findings(input).filter { $0.severity != .note } == [], "\(it.name)")
        }
        #expect(plain > 5)
    }

    @Test func everyCodeHasACase() {
        #expect(Set(PreflightTests.cases.map(\.code)) == Set(Finding.Code.allCases))
        #expect(Set(PreflightTests.cases.map(\.name)).count == PreflightTests.cases.count)
    }

    @Test func theWorstComesFirst() throws {
        var situation = Situation()
        situation.standby.mtu = 1400
        situation.standby.isUp = false
        situation.features[6] = []
        let severities = Preflight.findings(try situation.input()).map(\.severity)
        #expect(severities == [.blocks, .loses, .costs])
    }

    @Test func whatIsWaivedNoLongerFails() throws {
        var situation = Situation()
        situation.standby.mtu = 1400
        let findings = Preflight.findings(try situation.input())
        let report = PreflightReport(guest: nil, bridge: "br0", findings: findings, waiving: [], unseen: [])
        #expect(!report.ok && report.exitCode == 3 && report.findings.count == 1)
        let waived = PreflightReport(guest: nil, bridge: "br0", findings: findings, waiving: [.mtuSmaller], unseen: [])
        #expect(waived.ok && waived.exitCode == 0 && waived.findings.isEmpty && waived.waived == findings)
    }

    @Test func anUplinkThatIsTheStandbyIsNotMeasuredByThePrimary() throws {
        var situation = Situation()
        situation.primary.portFlags = [.learning]
        situation.uplinkIsStandby = true
        let codes = Preflight.findings(try situation.input()).map(\.code)
        #expect(codes == [.sharedPort])
    }

    @Test func everythingCanBeWrongAtOnce() throws {
        var situation = Situation()
        for it in PreflightTests.cases { try it.change(&situation) }
        #expect(!Preflight.findings(try situation.input()).isEmpty)
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
