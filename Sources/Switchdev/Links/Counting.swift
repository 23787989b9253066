/// Arithmetic on counters that others keep. A counter begins again when its interface, its table or its filter is made anew, and two
/// looks may then show less than before: nothing here traps or wraps.
extension UInt64 {
    /// How much the counter has grown; nil when it has begun again, for what it counted in between is not known.
    @inlinable public func growth(since earlier: UInt64) -> UInt64? { self >= earlier ? self - earlier : nil }

    /// The sum of two counters, at most the largest number.
    @inlinable public func plus(_ other: UInt64) -> UInt64 {
        let (sum, isOver) = addingReportingOverflow(other)
        return isOver ? .max : sum
    }

    /// How many of so many there are a second, rounded down, at most the largest number.
    ///
    /// - Parameter nanoseconds: the time that they took; less than one counts as one.
    public func perSecond(over nanoseconds: Int64) -> UInt64 {
        let time = UInt64(Swift.max(1, nanoseconds))
        let product = multipliedFullWidth(by: 1_000_000_000)
        return product.high >= time ? .max : time.dividingFullWidth(product).quotient
    }
}
