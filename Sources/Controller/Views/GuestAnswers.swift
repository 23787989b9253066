package import Policy

/// What became of one of several guests, in JSON.
package enum GuestAnswer<Answer: Encodable>: Encodable {
    case given(Answer)
    case refused(GuestID, ControllerError)

    private enum Key: CodingKey { case guest, error }

    package func encode(to encoder: any Encoder) throws {
        switch self {
        case .given(let answer): try answer.encode(to: encoder)
        case .refused(let id, let error):
            var container = encoder.container(keyedBy: Key.self)
            try container.encode(id.text, forKey: .guest)
            try container.encode(ErrorView.Content(error), forKey: .error)
        }
    }
}

/// The JSON object of a verb about several guests.
package struct GuestAnswers<Answer: Encodable>: Encodable {
    let guests: [GuestAnswer<Answer>]

    /// - Parameter guests: one for each guest, in the order in which they were named.
    package init(_ guests: [GuestAnswer<Answer>]) { self.guests = guests }
}

extension ControllerError.Code {
    /// The worse of two exit codes: the one after which more is to be done.
    package static func worse(_ one: Int32, _ other: Int32) -> Int32 {
        let order: [ControllerError.Code] = [.timeout, .busy, .precondition, .unproven, .rolledBack, .notRolledBack]
        func rank(_ code: Int32) -> Int {
            code == 0 ? -1 : order.firstIndex { $0.rawValue == code } ?? order.count
        }
        return rank(one) >= rank(other) ? one : other
    }
}
