import FDB

extension [Address] {
    /// Reads lists of addresses, separated by commas.
    ///
    /// - Throws: ``ControllerError`` of code `usage`.
    package init(listed values: [String]) throws(ControllerError) {
        self = []
        for text in values.flatMap({ $0.split(separator: ",", omittingEmptySubsequences: false) }) {
            do throws(AddressError) {
                append(try Address(String(text)))
            } catch {
                throw ControllerError(.usage, error.message, remedy: error.remedy)
            }
        }
    }
}
