package import Policy

/// An error in JSON.
package struct ErrorView: Encodable {
    /// What is wrong.
    package struct Content: Encodable {
        let code: String
        let exitCode: Int32
        let message: String
        let remedy: String?
        let errno: String?
        let extack: String?
        let reasons: [String]

        package init(_ error: ControllerError) {
            code = error.code.name
            exitCode = error.code.rawValue
            message = error.message
            remedy = error.remedy
            errno = error.cause?.errno
            extack = error.cause?.extack
            reasons = error.reasons
        }
    }

    package let error: Content

    package init(_ error: ControllerError) {
        self.error = Content(error)
    }
}
