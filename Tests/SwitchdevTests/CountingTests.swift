import Switchdev
import Testing

struct CountingTests {
    @Test(
        arguments: [
            (5, 3, 2), (3, 3, 0), (0, 1, nil), (0, .max, nil), (.max, 0, .max),
        ] as [(UInt64, UInt64, UInt64?)])
    func theGrowthOfACounterThatBeganAgainIsUnknown(now: UInt64, before: UInt64, growth: UInt64?) {
        #expect(now.growth(since: before) == growth)
    }

    @Test(
        arguments: [
            (200, 100_000_000, 2000), (1, 3_000_000_000, 0), (.max, 1, .max), (.max, 1_000_000_000, .max),
            (.max, 2_000_000_000, .max / 2), (7, 0, 7_000_000_000), (7, -5, 7_000_000_000), (0, .max, 0),
        ] as [(UInt64, Int64, UInt64)])
    func aRateNeitherTrapsNorWraps(count: UInt64, nanoseconds: Int64, rate: UInt64) {
        #expect(count.perSecond(over: nanoseconds) == rate)
    }

    @Test func aSumStaysAtTheLargestNumber() {
        #expect(UInt64.max.plus(1) == .max)
        #expect(UInt64(3).plus(4) == 7)
    }
}
