import Controller
import JSON
import Policy
import System

/// A method, and what it does.
struct Method: Sendable {
    let interface: String
    let description: MethodDescription
    /// It only reads, and its answer may be long.
    var reads = false
    /// Answers with the parameters of the reply.
    let run: @Sendable (Exchange) throws(VarlinkError) -> JSON

    /// A verb of the command line.
    static func verb(
        _ name: String, _ words: String, _ parameters: [Parameter], reads: Bool = false, streams: Bool = false,
        _ run: @escaping @Sendable (Exchange) throws(ControllerError) -> Answer
    ) -> Method {
        let reply = streams ? "event" : "answer"
        return Method(
            interface: "io.fdbsteer",
            description: MethodDescription(
                name: name, words: words, parameters: parameters,
                reply: [Parameter(reply, .object, isOptional: false)], streams: streams),
            reads: reads
        ) { exchange throws(VarlinkError) in
            let answer: Answer
            do throws(ControllerError) { answer = try run(exchange) } catch { throw Service.failure(error) }
            return .object([JSON.Member(reply, try answer.success)])
        }
    }

    static let all: [Method] = changing + reading + streaming + service

    /// What `GetInfo` lists.
    static let interfaces = [
        Interface(
            name: "org.varlink.service", words: "What every Varlink service answers (https://varlink.org/Service).",
            methods: service.map(\.description),
            errors: [
                (
                    "InterfaceNotFound", "There is no such interface.",
                    [Parameter("interface", .string, isOptional: false)]
                ),
                (
                    "MethodNotFound", "The interface has no such method.",
                    [Parameter("method", .string, isOptional: false)]
                ),
                (
                    "MethodNotImplemented", "The method is not there yet.",
                    [Parameter("method", .string, isOptional: false)]
                ),
                (
                    "InvalidParameter", "A parameter is missing, not known, or of another type.",
                    [Parameter("parameter", .string, isOptional: false)]
                ), ("PermissionDenied", "The caller may not do that.", []),
                ("ExpectedMore", "The method has several replies: call it with more.", []),
            ]),
        Interface(
            name: "io.fdbsteer",
            words: """
                The verbs of fdbsteer, for programs. Parameters are named as the options of the
                command line are (fdbsteer help VERB), durations have a unit: 500ms, 5s, 2min.
                Answers are the objects that --json prints (docs/json.md).
                """,
            methods: (changing + reading + streaming).map(\.description),
            errors: [
                (
                    "Failed",
                    """
                    The command line would have ended with this exit code: 3 a precondition failed,
                    nothing was changed; 4 failed and rolled back; 5 failed and not fully rolled
                    back; 6 timed out; 7 applied but unproven; 8 another redirection of this guest
                    is running; 64 wrong usage. If there is an answer, it says what became of the
                    guests.
                    """,
                    [
                        Parameter("code", .string, isOptional: false), Parameter("exit_code", .int, isOptional: false),
                        Parameter("message", .string, isOptional: false), Parameter("reasons", .strings),
                        Parameter("remedy", .string),
                        Parameter("errno", .string), Parameter("extack", .string), Parameter("answer", .object),
                    ]
                )
            ]),
    ]

    /// Where the packages install the documents.
    private static let documents = "file:///usr/share/doc/fdbsteer/docs/varlink.md"

    private static let service: [Method] = [
        Method(
            interface: "org.varlink.service",
            description: MethodDescription(
                name: "GetInfo", words: "What answers, and which interfaces it has.", parameters: [],
                reply: ["vendor", "product", "version", "url"].map { Parameter($0, .string, isOptional: false) }
                    + [Parameter("interfaces", .strings, isOptional: false)])
        ) { _ throws(VarlinkError) in
            .object([
                .init("vendor", .string("fdbsteer")), .init("product", .string("fdbsteerd")),
                .init("version", .string(Build.version)), .init("url", .string(documents)),
                .init("interfaces", .array(interfaces.map { .string($0.name) })),
            ])
        },
        Method(
            interface: "org.varlink.service",
            description: MethodDescription(
                name: "GetInterfaceDescription", words: "The description of an interface.",
                parameters: [Parameter("interface", .string, isOptional: false)],
                reply: [Parameter("description", .string, isOptional: false)])
        ) { exchange throws(VarlinkError) in
            let name = exchange.parameters.text("interface") ?? ""
            guard let interface = interfaces.first(where: { $0.name == name }) else {
                throw .service("InterfaceNotFound", "interface", name)
            }
            return .object([.init("description", .string(interface.text))])
        },
    ]
}
