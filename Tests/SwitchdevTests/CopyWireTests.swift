import FDB
import Netlink
import Testing

@testable import Switchdev

/// Copies as messages and as programs, without a kernel.
@Suite struct CopyWireTests {
    private static let specification = CopySpecification(
        source: 6, target: 5,
        matches: [0x5254_0000_0001, 0x5254_0000_0002].map { .init(mac: MACAddress(value: $0), tag: .any) },
        groups: [.broadcast], number: 42, label: "vm1")

    /// The payload of one encoded request.
    private func payload(_ request: some Request) throws -> [UInt8] {
        var writer = MessageWriter(capacity: 65536)
        let fits = writer.append(request, sequence: 1)
        #expect(fits)
        var reader = MessageReader(writer.bytes)
        guard let message = try reader.next() else { return [] }
        return Array(message.payload)
    }

    @Test func aFilterIsReadAsItIsWritten() throws {
        let bytes = try payload(TrafficControlRequest.setCopy(Self.specification))
        let filter = try #require(try bytes.withUnsafeBytes { try TrafficFilter(decoding: $0) })
        #expect(filter.copy == 42 && filter.target == 5 && filter.kind == "bpf")
        #expect(filter.preference == TrafficControlRequest.preference)
        #expect(filter.makes(Self.specification))
        let other = CopySpecification(
            source: 6, target: 5, matches: Array(Self.specification.matches.prefix(1)), groups: [.broadcast],
            number: 42, label: "vm1")
        #expect(!filter.makes(other))
    }

    @Test func aFilterWithoutOurMarkIsNotOurs() throws {
        var bytes = try payload(TrafficControlRequest.setCopy(Self.specification))
        let mark = Array("fdbsteer".utf8)
        let at = try #require(bytes.indices.first { bytes[$0...].starts(with: mark) })
        bytes[at] ^= 1
        let filter = try bytes.withUnsafeBytes { try TrafficFilter(decoding: $0) }
        #expect(filter?.copy == nil && filter?.makes(Self.specification) == false)
    }

    @Test func noBytesTrapTheDecoders() throws {
        let bytes = try payload(TrafficControlRequest.setCopy(Self.specification))
        for length in 0...bytes.count {
            let part = Array(bytes.prefix(length))
            part.withUnsafeBytes { raw in
                let filter = try? TrafficFilter(decoding: raw)
                #expect(length == bytes.count || filter?.makes(Self.specification) != true)
                _ = PacketFilterTable.counter(in: raw)
            }
        }
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            var hostile = bytes
            for _ in 0..<4 {
                hostile[Int.random(in: 0..<bytes.count, using: &generator)] = .random(in: 0...255, using: &generator)
            }
            hostile.withUnsafeBytes {
                _ = try? TrafficFilter(decoding: $0)
                _ = PacketFilterTable.counter(in: $0)
            }
        }
    }

    @Test func programsAreWhatTheKernelTakes() {
        func matches(_ count: UInt64, tag: (UInt64) -> CopySpecification.Tag) -> [CopySpecification.Match] {
            (0..<count).map { .init(mac: MACAddress(value: 0x5254_0000_0000 + $0), tag: tag($0)) }
        }
        func program(_ matches: [CopySpecification.Match], _ groups: CopySpecification.Groups = []) -> CopyProgram {
            CopyProgram(
                CopySpecification(source: 1, target: 2, matches: matches, groups: groups, number: 1, label: "vm"))
        }
        let many = program(matches(256) { _ in .any }, [.broadcast, .multicast])
        #expect(many.fits)
        // Every jump lands inside the program, and the last instruction is a verdict (`bpf_check_classic`).
        for (index, instruction) in many.instructions.enumerated() where instruction.code & 7 == 5 {
            #expect(index + 1 + Int(max(instruction.jumpTrue, instruction.jumpFalse)) < many.instructions.count)
        }
        #expect(many.instructions.last?.code == 6 && many.instructions.last?.operand == 0)
        #expect(!program(matches(2000) { _ in .any }).fits, "too long for the kernel")
        let vlans = matches(60) { VLANID(rawValue: UInt16($0 + 1)).map { .vlan($0) } ?? .any }
        #expect(program(vlans).fits)
        #expect(!program(vlans, .broadcast).fits, "a jump over 60 VLANs is too far")
    }
}
