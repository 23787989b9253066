/// The checkout that this program was built from.
public enum Checkout {
    /// Its folder, an absolute path.
    public static let path = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(
        separator: "/")
}
