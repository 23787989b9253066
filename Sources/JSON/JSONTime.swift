import System

extension JSON {
    /// A moment, in nanoseconds since 1970 (CLOCK_REALTIME); 0 for one that is not known. Encoded by ``JSON/init(encoding:)`` it becomes
    /// two members: `time` as text, and `time_us` as an integer. Nanoseconds would need 61 bits, and many readers of JSON have 53.
    @propertyWrapper public struct Time: Hashable, Sendable, Encodable {
        /// Nanoseconds since 1970.
        public var wrappedValue: Int64

        /// - Parameter wrappedValue: nanoseconds since 1970.
        public init(wrappedValue: Int64) { self.wrappedValue = wrappedValue }

        /// The two members of a moment.
        package func members(named name: String) -> [Member] {
            [
                Member(name, .string(Timestamp.text(wrappedValue, precision: 6))),
                Member(name + "_us", .integer(wrappedValue / 1000)),
            ]
        }
    }
}
