import CNetlink
import Glibc
import System

/// Makes a system call and turns a negative result into an error that names the call. EINTR restarts the call.
///
/// - Parameters:
///   - name: the call's name, for the error.
///   - body: makes the call; -1 means failure with `errno` set.
/// - Throws: ``NetlinkError`` of code `system`.
@discardableResult
package func systemCall(_ name: String, _ body: () -> Int32) throws(NetlinkError) -> Int32 {
    while true {
        let result = body()
        if result >= 0 { return result }
        let number = errno
        if number == EINTR { continue }
        throw NetlinkError(.system, "\(name) failed", errno: KernelErrno(rawValue: number))
    }
}
