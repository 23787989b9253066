/// Something for each side, or for some: a dictionary whose keys are known.
///
/// The first dictionary of a type costs a process 0.3 million instructions, in which the Swift runtime looks for the
/// conformances of its key: as much as a whole `bridge fdb replace` (docs/performance.md).
package struct BySide<Value> {
    private var primary: Value?
    private var standby: Value?
    private var remote: Value?

    /// Nothing for any side.
    package init() {}

    package init(_ values: [Side: Value]) {
        for side in Side.allCases { self[side] = values[side] }
    }

    package subscript(side: Side) -> Value? {
        get {
            switch side {
            case .primary: primary
            case .standby: standby
            case .remote: remote
            }
        }
        set {
            switch side {
            case .primary: primary = newValue
            case .standby: standby = newValue
            case .remote: remote = newValue
            }
        }
    }

    /// In the order of the sides.
    package var values: [Value] { [primary, standby, remote].compactMap { $0 } }

    /// For whoever looks at all of them by their sides.
    package var dictionary: [Side: Value] {
        var result: [Side: Value] = [:]
        for side in Side.allCases { result[side] = self[side] }
        return result
    }
}

extension BySide: Sendable where Value: Sendable {}
