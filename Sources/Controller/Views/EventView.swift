import JSON
import Policy
package import Records

/// An event in JSON, in the words of the history.
package struct EventView: Encodable {
    let event: String
    let id: String
    @JSON.Time var time: Int64
    let guest: String?
    let bridge: String?
    let verb: String?
    let from: String?
    let to: String?
    let strategy: String?
    let bracketChange: String?
    let outcome: String?
    let code: String?
    let message: String?
    let by: String?
    let uid: Int64?
    let proof: String?
    let moveNanoseconds: Int64?
    let totalNanoseconds: Int64?
    let signal: String?
    let waitedNanoseconds: Int64?
    let addresses: [Report.AddressResult]?
    let notes: [String]?
    let evidence: Evidence?
    let part: String?
    let kept: Int64?
    let sent: Int64?
    let dropped: Int64?
    let afterNanoseconds: Int64?

    /// - Parameter event: of the log.
    package init(_ event: LoggedEvent) {
        self.event = event.text("event") ?? ""
        id = event.text("id") ?? ""
        time = event.time
        (guest, bridge, verb) = (event.text("guest"), event.text("bridge"), event.text("verb"))
        (from, to) = (event.text("from"), event.text("to"))
        (strategy, outcome) = (event.text("strategy"), event.text("outcome"))
        bracketChange = event.text("bracket_change")
        (code, message, proof) = (event.text("code"), event.text("message"), event.text("proof"))
        (by, uid) = (event.text("by"), event.integer("uid"))
        (moveNanoseconds, totalNanoseconds) = (event.integer("move_ns"), event.integer("total_ns"))
        (signal, waitedNanoseconds) = (event.text("signal"), event.integer("waited_ns"))
        let isRedirection = event.kind == .redirection
        addresses = isRedirection ? event.results : nil
        notes = isRedirection ? event.texts("notes") : nil
        evidence = event.evidence
        (part, afterNanoseconds) = (event.text("part"), event.integer("after_ns"))
        (kept, sent, dropped) = (event.integer("kept"), event.integer("sent"), event.integer("dropped"))
    }
}
