import System
import Testing

/// Names are listed in the order in which people count.
struct NaturalOrderTests {
    @Test func numbersCompareByTheirValues() {
        let ordered = [
            "", "2", "10", "vm", "vm0", "vm01", "vm1", "vm2", "vm2-a", "vm2a", "vm10", "vm10:nic1", "vm10:nic11",
            "vm18446744073709551616", "vm18446744073709551617", "web",
        ]
        for (index, one) in ordered.enumerated() {
            #expect(!NaturalOrder.isBefore(one, one))
            for other in ordered[(index + 1)...] {
                #expect(NaturalOrder.isBefore(one, other), "\(one) \(other)")
                #expect(!NaturalOrder.isBefore(other, one), "\(other) \(one)")
            }
        }
    }
}
