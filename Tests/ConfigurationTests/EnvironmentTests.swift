import Lab
import Testing

/// What a started program finds in its environment.
struct EnvironmentTests {
    /// Otherwise a test fails on a machine where somebody has set one of them (NO_COLOR, SUDO_UID).
    @Test func aProgramOfALabHasNoVariableOfTheMachineThatSteersIt() throws {
        let files = try Command.run(["find", Checkout.path + "/Sources", "-name", "*.swift"]).output.split(
            separator: "\n")
        let code = files.map { TextFile.read(String($0)) }.joined()
        let names = Set(code.matches(of: /(?:Environment\.value|getenv)\("([A-Z_]+)"\)/).map { String($0.1) })
        #expect(names.count > 8)
        #expect(names.subtracting(Command.steering).isEmpty, "Command.steering has not all that Sources read")
        let variables = try Command.run(["env"], environment: ["NO_COLOR": "1"]).output.split(separator: "\n")
        let given = Set(variables.map { String($0.prefix { $0 != "=" }) })
        #expect(given.intersection(Command.steering) == ["NO_COLOR"])
    }
}
