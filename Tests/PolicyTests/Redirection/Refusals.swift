@testable import Policy

extension KernelRefusal {
    init(_ meaning: Meaning, _ text: String) { self.init(meaning, errno: nil, description: text) }
}

extension Redirection.Event {
    /// The answers to some requests; nil for an accepted one.
    static func answered(_ answers: [KernelRefusal?]) -> Redirection.Event {
        var refusals: [Int: KernelRefusal] = [:]
        for (index, answer) in answers.enumerated() { refusals[index] = answer }
        return .answered(refusals)
    }
}
