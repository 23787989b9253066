import Glibc

/// Programs of Debian packages that `scripts/unpack` put into the lab's cache, because installing them would bring services.
package enum Unpacked {
    private static let cache = getenv("FDBSTEER_LAB_CACHE").map { String(cString: $0) } ?? "/var/cache/fdbsteer-lab"
    private static let script = Checkout.path + "/scripts/with-unpacked"

    /// Why programs cannot be run, nil when they can.
    ///
    /// - Parameters:
    ///   - name: the first argument of `scripts/unpack`.
    ///   - programs: absolute paths, as if the packages were installed.
    package static func obstacle(_ name: String, programs: [String]) -> String? {
        let missing = programs.filter { access($0, X_OK) != 0 && access("\(cache)/unpacked/\(name)\($0)", X_OK) != 0 }
        return missing.isEmpty ? nil : "there is no \(missing.joined(separator: ", ")): scripts/setup tests unpacks it"
    }

    /// The words of a command that sees the packages as if they were installed.
    package static func command(_ name: String, _ words: [String]) -> [String] { [script, name] + words }
}
