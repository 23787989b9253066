import Testing

@testable import Controller

/// Kept frames, and what is put into them.
@Suite struct FrameRingTests {
    private func frame(_ length: Int, _ octet: UInt8) -> [UInt8] { [UInt8](repeating: octet, count: length) }

    private func keep(_ ring: FrameRing, _ frame: [UInt8], _ number: UInt64) {
        frame.withUnsafeBytes { ring.keep($0, number: number, tag: (0x8100, UInt16(number & 0xfff))) }
    }

    private func content(_ ring: FrameRing, _ range: Range<UInt64> = 0..<UInt64.max) -> [(UInt64, [UInt8])] {
        var found: [(UInt64, [UInt8])] = []
        ring.forEach(in: range) {
            #expect($0.tag == (0x8100, UInt16($0.number & 0xfff)))
            found.append(($0.number, Array($0.bytes)))
            return true
        }
        return found
    }

    @Test func framesAreKeptInTheirOrder() throws {
        let ring = try #require(FrameRing())
        for number in 0..<10 { keep(ring, frame(60 + number, UInt8(number)), UInt64(2 * number)) }
        #expect(content(ring).map(\.0) == (0..<10).map { UInt64(2 * $0) })
        #expect(content(ring, 5..<9).map(\.0) == [6, 8])
        #expect(content(ring, 6..<7).first?.1 == frame(63, 3))
        ring.forget(before: 7)
        #expect(content(ring).map(\.0) == [8, 10, 12, 14, 16, 18])
        var first: [UInt64] = []
        ring.forEach(in: 0..<100) {
            first.append($0.number)
            return first.count < 2
        }
        #expect(first == [8, 10])
    }

    @Test func theNewestAreDroppedAndCountedWhereThereIsNoRoom() throws {
        let ring = try #require(FrameRing())
        for number in 0..<(FrameRing.mostFrames + 5) { keep(ring, frame(60, 1), UInt64(number)) }
        #expect(ring.count == FrameRing.mostFrames && ring.takeOverflow() == 5 && ring.takeOverflow() == 0)
        let large = try #require(FrameRing())
        let most = FrameRing.mostBytes / 65_000
        for number in 0..<(most + 3) { keep(large, frame(65_000, UInt8(number & 0xff)), UInt64(number)) }
        #expect(large.count == most && large.takeOverflow() == 3)
        #expect(content(large).last?.1 == frame(65_000, UInt8((most - 1) & 0xff)))
    }

    /// Frames of any length, with the oldest forgotten at random: each is read as it was written.
    @Test func aFrameIsNeverWrittenOver() throws {
        var random = SystemRandomNumberGenerator()
        let ring = try #require(FrameRing())
        var (wanted, number) = ([(UInt64, [UInt8])](), UInt64(0))
        for _ in 0..<3000 {
            let frame = frame(Int.random(in: 24...66_000, using: &random), UInt8.random(in: 0...255, using: &random))
            keep(ring, frame, number)
            if ring.takeOverflow() == 0 { wanted.append((number, frame)) }
            number += 1
            if Int.random(in: 0..<8, using: &random) == 0, let oldest = wanted.first {
                let limit = oldest.0 + UInt64.random(in: 0...20, using: &random)
                ring.forget(before: limit)
                wanted.removeAll { $0.0 < limit }
            }
            #expect(ring.count == wanted.count)
        }
        #expect(content(ring).elementsEqual(wanted) { $0.0 == $1.0 && $0.1 == $1.1 })
    }

    @Test func aTagIsPutBehindTheAddressesAndOffsetsMove() {
        // A header that asks for a checksum: flags, type, header length 54, size, start 34, offset 16.
        let header: [UInt8] = [1, 1, 54, 0, 0xdc, 5, 34, 0, 16, 0]
        let macs = [UInt8](0..<12)
        let rest: [UInt8] = [0x08, 0x00] + [UInt8](repeating: 9, count: 46)
        var result = [UInt8](repeating: 0, count: 10 + 12 + 4 + rest.count)
        (header + macs + rest).withUnsafeBytes { frame in
            result.withUnsafeMutableBytes { TaggedFrame.write(frame, type: 0x8100, control: 0x6014, to: $0) }
        }
        #expect(result == [1, 1, 58, 0, 0xdc, 5, 38, 0, 16, 0] + macs + [0x81, 0, 0x60, 0x14] + rest)
        let plain = [UInt8](repeating: 0, count: 10)
        (plain + macs + rest).withUnsafeBytes { frame in
            result.withUnsafeMutableBytes { TaggedFrame.write(frame, type: 0x88a8, control: 5, to: $0) }
        }
        #expect(result == plain + macs + [0x88, 0xa8, 0, 5] + rest)
    }
}
