import FDB
import Policy
import System

extension ValueType {
    static let side = ValueType.word(Word(name: "Side", words: Side.allCases.map(\.rawValue)))
    static let strategy = ValueType.word(Word(name: "Strategy", words: Strategy.allCases.map(\.rawValue)))
    static let kind = ValueType.word(Word(name: "GuestKind", words: GuestKind.allCases.map(\.rawValue)))
    static let onTimeout = ValueType.word(Word(name: "OnTimeout", words: ["stay", "abort"]))
    static let leak = ValueType.word(Word(name: "Leak", words: ["refuse", "allow"]))
    static let replay = ValueType.word(Word(name: "Replay", words: ReplayMode.allCases.map(\.rawValue)))
}

extension Parameter {
    static let guest = [Parameter("guest", .string, isOptional: false)]
    static let guests = [Parameter("guests", .strings)]
    static let dryRun = [Parameter("dry_run", .bool)]
    /// Of the verbs that redirect.
    static let proof = [
        Parameter("require_proof", .bool), Parameter("proof_timeout", .string), Parameter("observe", .string),
        Parameter("waive", .strings),
    ]
}

extension Parameters {
    /// - Throws: ``ControllerError`` of code `usage` for what cannot be a name.
    func guest() throws(ControllerError) -> GuestID { try GuestID(text("guest") ?? "") }

    /// The guests that are named, each once.
    func guests() throws(ControllerError) -> [GuestID] {
        var ids: [GuestID] = []
        var known: Set<GuestID> = []
        for name in texts("guests") {
            let id = try GuestID(name)
            if known.insert(id).inserted { ids.append(id) }
        }
        return ids
    }

    /// A side that the method requires.
    func side(_ name: String) -> Side? { text(name).flatMap(Side.init) }

    func addresses() throws(ControllerError) -> [Address] { try [Address](listed: texts("addresses")) }

    /// IP addresses, and whose they are.
    func ips() throws(ControllerError) -> [AnnouncementRequest.Owned] {
        var ips: [AnnouncementRequest.Owned] = []
        for text in texts("ip") { ips.append(try AnnouncementRequest.Owned(text)) }
        return ips
    }

    /// A duration in nanoseconds.
    ///
    /// - Parameter most: a call occupies a thread of the daemon's, and perhaps a guest, for no longer.
    /// - Throws: ``ControllerError`` of code `usage`.
    func duration(
        _ name: String, default: Int64, atMost most: Int64 = 60_000_000_000
    ) throws(ControllerError) -> Int64 {
        guard let text = text(name) else { return `default` }
        guard let value = DurationText.nanoseconds(text) else {
            throw ControllerError(
                .usage, "\(name) is \"\(text)\"", remedy: "a duration is a whole number with its unit: 500ms, 5s, 2min")
        }
        guard value <= most else {
            throw ControllerError(
                .usage, "\(name) is \(text)", remedy: "it goes to \(DurationText.text(most)) in the local API")
        }
        return value
    }

    /// A number in a range.
    ///
    /// - Throws: ``ControllerError`` of code `usage`.
    func number(_ name: String, in range: ClosedRange<Int64>, default: Int64) throws(ControllerError) -> Int64 {
        guard let value = integer(name) else { return `default` }
        guard range.contains(value) else {
            throw ControllerError(
                .usage, "\(name) is \(value)", remedy: "it goes from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    /// Findings that the caller accepts.
    func waived() throws(ControllerError) -> Set<Finding.Code> {
        var codes: Set<Finding.Code> = []
        for text in texts("waive") {
            guard let code = Finding.Code(rawValue: text) else {
                let known = Rule.all.map { $0.code.rawValue }.sorted()
                throw ControllerError(
                    .usage, "no finding has the code \(text)",
                    remedy: (Nearest.question(to: text, in: known).map { "\($0) " } ?? "")
                        + "the codes are \(known.joined(separator: ", "))")
            }
            codes.insert(code)
        }
        return codes
    }

    /// The options of the verbs that redirect.
    func options() throws(ControllerError) -> VerbOptions {
        let defaults = VerbOptions()
        var options = VerbOptions(
            dryRun: flag("dry_run"), requireProof: flag("require_proof"),
            proofTimeout: try duration("proof_timeout", default: defaults.proofTimeout), waived: try waived(),
            observation: try duration("observe", default: defaults.observation))
        options.allowsDuplicates = flag("allow_duplicates")
        options.bracketMaxRate = UInt64(try number("bracket_max_rate", in: 0...Int64.max, default: 0))
        return options
    }
}
