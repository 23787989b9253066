import Glibc
import System
import Testing

/// Programs that are run to their end.
struct ChildProcessTests {
    @Test func errorsAreNoPartOfTheOutput() throws {
        let ended = try ChildProcess.output(
            of: ["sh", "-c", "echo one; echo two >&2; echo three; exit 7"], limit: 1 << 16, within: 60_000_000_000)
        #expect(ended.code == 7)
        #expect(String(decoding: ended.output, as: UTF8.self) == "one\nthree\n")
        #expect(String(decoding: ended.errors, as: UTF8.self) == "two\n")
    }

    @Test func noMoreIsKeptThanTheLimit() throws {
        let ended = try ChildProcess.output(
            of: ["sh", "-c", "head -c 300000 /dev/zero"], limit: 1000, within: 60_000_000_000)
        #expect(ended.code == 0 && ended.output.count == 1000)
    }

    /// Neither one that says nothing, nor one whose child holds the pipe.
    @Test(arguments: ["exec sleep 600", "sleep 600"]) func aProgramThatDoesNotEndIsKilled(script: String) {
        let error = #expect(throws: SystemError.self) {
            _ = try ChildProcess.output(of: ["sh", "-c", script], limit: 1000, within: 100_000_000)
        }
        #expect(error?.errno.rawValue == ETIMEDOUT, "\(error?.description ?? "")")
        #expect(error?.activity == "sh did not end within 100ms")
    }
}
