import JSON

/// The type of a parameter, as the interface description spells it (https://varlink.org/Interface-Definition).
enum ValueType: Hashable, Sendable {
    case string, int, bool, object, strings
    /// One of several words, by the name of its type.
    case word(Word)

    /// An enumeration.
    struct Word: Hashable, Sendable {
        let name: String
        let words: [String]
    }

    fileprivate var text: String {
        switch self {
        case .string: "string"
        case .int: "int"
        case .bool: "bool"
        case .object: "object"
        case .strings: "[]string"
        case .word(let word): word.name
        }
    }

    /// Whether a value is of this type.
    func holds(_ value: JSON) -> Bool {
        switch self {
        case .string: value.text != nil
        case .int: value.integer != nil
        case .bool: value.bool != nil
        case .object: value.members != nil
        case .strings: value.elements?.allSatisfy { $0.text != nil } ?? false
        case .word(let word): value.text.map(word.words.contains) ?? false
        }
    }
}

/// A parameter of a method, a reply or an error.
struct Parameter: Hashable, Sendable {
    let name: String
    let type: ValueType
    let isOptional: Bool

    init(_ name: String, _ type: ValueType, isOptional: Bool = true) {
        self.name = name
        self.type = type
        self.isOptional = isOptional
    }

    fileprivate var text: String { "\(name): \(isOptional ? "?" : "")\(type.text)" }
}

/// What a client is told of a method.
struct MethodDescription: Hashable, Sendable {
    let name: String
    /// What it does, in lines for the description.
    let words: String
    let parameters: [Parameter]
    let reply: [Parameter]
    /// It has several replies, for clients that take them.
    var streams = false

    fileprivate var text: String {
        func list(_ parameters: [Parameter]) -> String {
            let line = "(" + parameters.map(\.text).joined(separator: ", ") + ")"
            if line.utf8.count <= 80 { return line }
            return "(\n" + parameters.map { "  \($0.text)" }.joined(separator: ",\n") + "\n)"
        }
        return comment(words) + "method \(name)\(list(parameters)) -> \(list(reply))\n"
    }
}

/// An interface, and its description.
struct Interface: Sendable {
    let name: String
    let words: String
    let methods: [MethodDescription]
    let errors: [(name: String, words: String, parameters: [Parameter])]

    /// The description that `GetInterfaceDescription` answers.
    var text: String {
        var types: [ValueType.Word] = []
        for case .word(let word) in methods.flatMap({ $0.parameters + $0.reply }).map(\.type)
        where !types.contains(word) {
            types.append(word)
        }
        let parts =
            [comment(words) + "interface \(name)\n"]
            + types.map { "type \($0.name) (\($0.words.joined(separator: ", ")))\n" } + methods.map(\.text)
            + errors.map { error in
                comment(error.words) + "error \(error.name) (\(error.parameters.map(\.text).joined(separator: ", ")))\n"
            }
        return parts.joined(separator: "\n")
    }
}

private func comment(_ words: String) -> String {
    words.split(separator: "\n", omittingEmptySubsequences: false).map { "# \($0)\n" }.joined()
}

/// The parameters of a call, all of the types that the method declares.
struct Parameters {
    private let values: [String: JSON]

    /// - Throws: ``VarlinkError`` that names the first parameter that is not declared, of another type, or missing.
    init(_ members: [JSON.Member], of method: MethodDescription) throws(VarlinkError) {
        var values: [String: JSON] = [:]
        for member in members {
            guard let parameter = method.parameters.first(where: { $0.name == member.name }) else {
                throw .invalid(member.name)
            }
            if member.value == .null, parameter.isOptional { continue }
            guard parameter.type.holds(member.value) else { throw .invalid(member.name) }
            values[member.name] = member.value
        }
        for parameter in method.parameters where !parameter.isOptional && values[parameter.name] == nil {
            throw .invalid(parameter.name)
        }
        self.values = values
    }

    func has(_ name: String) -> Bool { values[name] != nil }
    func text(_ name: String) -> String? { values[name]?.text }
    func integer(_ name: String) -> Int64? { values[name]?.integer }
    func flag(_ name: String) -> Bool { values[name]?.bool ?? false }
    func texts(_ name: String) -> [String] { values[name]?.elements?.compactMap(\.text) ?? [] }
}
