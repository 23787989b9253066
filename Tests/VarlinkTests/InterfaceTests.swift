import JSON
import Lab
import Testing

@testable import Varlink

/// What a client is told of the interfaces, and what is taken from it.
struct InterfaceTests {
    /// docs/varlink.md has the description that the daemon answers.
    @Test func theDocumentHasTheDescription() throws {
        let document = TextFile.read(Checkout.path + "/docs/varlink.md")
        let text = try #require(Method.interfaces.first { $0.name == "io.fdbsteer" }?.text)
        #expect(document.contains("```varlink\n\(text)```\n"), "docs/varlink.md is to have this:\n\(text)")
    }

    @Test func everyMethodIsFoundByItsName() {
        for interface in Method.interfaces {
            for description in interface.methods {
                let found = Method.all.filter { $0.interface == interface.name && $0.description == description }
                #expect(found.count == 1, "\(description.name)")
            }
        }
        #expect(Set(Method.all.map { "\($0.interface).\($0.description.name)" }).count == Method.all.count)
    }

    @Test(arguments: [
        (#"{"method":"a.b.C"}"#, "a.b", "C"), (#"{"method":"C","parameters":null,"more":null}"#, "", "C"),
        (#"{"method":"a.C","parameters":{"x":1},"oneway":true}"#, "a", "C"),
    ])
    func calls(text: String, interface: String, name: String) throws {
        let call = try #require(Array(text.utf8).withUnsafeBytes { Call($0) })
        #expect(call.interface == interface && call.name == name)
    }

    @Test func parametersAreOfTheDeclaredTypes() throws {
        let method = MethodDescription(
            name: "A", words: "",
            parameters: [
                Parameter("text", .string, isOptional: false), Parameter("list", .strings), Parameter("side", .side),
                Parameter("count", .int), Parameter("flag", .bool),
            ], reply: [])
        func wrong(_ text: String) -> String? {
            do throws(VarlinkError) {
                _ = try Parameters(JSON(text: text)?.members ?? [], of: method)
                return nil
            } catch {
                #expect(error.name == "org.varlink.service.InvalidParameter")
                return error.parameters.first?.value.text
            }
        }
        #expect(wrong(#"{"text":"a","list":["b"],"side":"standby","count":1,"flag":true}"#) == nil)
        #expect(wrong(#"{"text":"a","list":null,"count":null}"#) == nil)
        let cases = [
            ("{}", "text"), (#"{"text":null}"#, "text"), (#"{"text":1}"#, "text"),
            (#"{"text":"a","list":"b"}"#, "list"),
            (#"{"text":"a","list":[1]}"#, "list"), (#"{"text":"a","side":"up"}"#, "side"),
            (#"{"text":"a","count":1.5}"#, "count"), (#"{"text":"a","flag":1}"#, "flag"),
            (#"{"text":"a","other":1}"#, "other"),
        ]
        for (text, name) in cases { #expect(wrong(text) == name, "\(text)") }
    }
}
