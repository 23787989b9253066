import Glibc

/// Variables of the environment.
package enum Environment {
    /// The value of a variable; nil when it is not set, or set to nothing.
    package static func value(_ name: String) -> String? {
        guard let value = getenv(name), value.pointee != 0 else { return nil }
        return String(cString: value)
    }
}
