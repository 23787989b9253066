import JSON

private let method = MethodDescription(
    name: "Switch", words: "",
    parameters: [
        Parameter("guests", .strings), Parameter("to", .word(.init(name: "Side", words: ["primary", "standby"]))),
        Parameter("count", .int), Parameter("flag", .bool), Parameter("answer", .object), Parameter("at", .string),
    ], reply: [])

/// libFuzzer's entry point: the reader of calls to the local API, on arbitrary bytes. Built by scripts/fuzz.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOne(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    guard let call = Call(UnsafeRawBufferPointer(start: data, count: size)) else { return 0 }
    _ = (call.interface, call.name)
    do throws(VarlinkError) {
        let parameters = try Parameters(call.parameters, of: method)
        _ = (parameters.texts("guests"), parameters.text("to"), parameters.integer("count"), parameters.flag("flag"))
    } catch {
        // What is told of it is one message.
        guard Reply.bytes(error).firstIndex(of: 0) == Reply.bytes(error).count - 1 else { fatalError("a NUL") }
    }
    return 0
}
