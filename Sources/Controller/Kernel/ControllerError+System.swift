package import Policy
package import System

extension ControllerError {
    /// A system call failed, and with it a precondition.
    package init(_ error: SystemError, remedy: String? = nil) {
        self.init(.precondition, "\(error.activity): \(error.errno.text)", remedy: remedy)
    }

    /// Turns a failed system call into a failed precondition.
    package static func system<T: ~Copyable>(
        remedy: String? = nil, _ body: () throws(SystemError) -> T
    ) throws(ControllerError) -> T {
        do { return try body() } catch { throw ControllerError(error, remedy: remedy) }
    }
}
