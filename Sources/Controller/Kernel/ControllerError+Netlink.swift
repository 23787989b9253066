package import Netlink
package import Policy
import System

extension KernelRefusal {
    /// What a netlink error tells policy.
    init(_ error: NetlinkError) {
        let meaning: Meaning =
            switch error.errno {
            case .exists?: .exists
            case .notPermitted?: .notPermitted
            case .invalid? where error.code == .refused, .noEntry? where error.code == .refused,
                .noDevice? where error.code == .refused:
                .gone
            default: .other
            }
        self.init(meaning, errno: error.errno?.name, extack: error.extack, description: error.description)
    }

    /// Those of some requests that were refused, by their numbers: mostly none.
    static func all(_ answers: [NetlinkError?]) -> [Int: KernelRefusal] {
        var refusals: [Int: KernelRefusal] = [:]
        for (index, answer) in answers.enumerated() {
            if let answer { refusals[index] = KernelRefusal(answer) }
        }
        return refusals
    }
}

extension ControllerError {
    /// - Parameter cause: the kernel's answer.
    package init(_ code: Code, _ message: String, remedy: String? = nil, cause: NetlinkError) {
        self.init(code, message, remedy: remedy, cause: KernelRefusal(cause))
    }

    /// Turns the kernel's refusal of something that changes nothing into a failed precondition.
    static func reading<T: ~Copyable>(
        _ what: String, _ body: () throws(NetlinkError) -> T
    ) throws(ControllerError) -> T {
        do {
            return try body()
        } catch {
            throw ControllerError(.precondition, "cannot read \(what)", cause: error)
        }
    }
}
