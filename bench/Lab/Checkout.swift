/// The checkout that this program was built from.
package enum Checkout {
    /// Its folder, an absolute path.
    package static let path = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(
        separator: "/")
}
