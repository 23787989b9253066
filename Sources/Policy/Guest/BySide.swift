/// A value for each side, or for some of them: a dictionary with known keys.
///
/// The first dictionary of a type costs a process 0.3 million instructions, because the Swift runtime searches for the
/// conformances of its key. That is as much as a whole `bridge fdb replace` (docs/performance.md).
///
/// It is inlinable for the same reason: unspecialized code of another module would have the runtime look for its types by name.
public struct BySide<Value> {
    @usableFromInline var primary: Value?
    @usableFromInline var standby: Value?
    @usableFromInline var local: Value?
    @usableFromInline var remote: Value?

    /// Makes an empty container.
    @inlinable public init() {}

    /// Makes one of the values of a dictionary.
    @inlinable public init(_ values: [Side: Value]) {
        for side in Side.allCases { self[side] = values[side] }
    }

    /// The value for a side.
    @inlinable public subscript(side: Side) -> Value? {
        get {
            switch side {
            case .primary: primary
            case .standby: standby
            case .local: local
            case .remote: remote
            }
        }
        set {
            switch side {
            case .primary: primary = newValue
            case .standby: standby = newValue
            case .local: local = newValue
            case .remote: remote = newValue
            }
        }
    }

    /// The values in the order of the sides.
    @inlinable public var values: [Value] {
        var values: [Value] = []
        if let primary { values.append(primary) }
        if let standby { values.append(standby) }
        if let local { values.append(local) }
        if let remote { values.append(remote) }
        return values
    }
}

extension BySide: Sendable where Value: Sendable {}
