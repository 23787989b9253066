import Glibc
import Lab
import System

/// The location of this program, and of the programs built with it.
enum OwnProgram {
    /// The path of this program.
    static var path: String { SystemFile.target(of: "/proc/self/exe") ?? "" }

    /// The folder of this program.
    static var folder: String {
        path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
    }

    /// The path of another program in that folder.
    ///
    /// - Throws: ``LabError`` if it was not built.
    static func sibling(_ name: String) throws -> String {
        let program = folder + "/" + name
        guard access(program, X_OK) == 0 else {
            throw LabError("there is no \(program): build it (scripts/build-release builds all products)")
        }
        return program
    }

    /// Runs this program in the lab VM.
    ///
    /// - Parameters:
    ///   - machine: the options of `scripts/lab-vm run`.
    ///   - arguments: this program's arguments in the VM; the path of the results is added.
    ///   - json: the path for the results on this host; nil for none.
    /// - Returns: the exit code in the VM.
    /// - Throws: ``LabError`` if the results cannot be written.
    static func runInLabVM(_ machine: [String], _ arguments: [String], json: String?) throws -> Int32 {
        let share = try TemporaryFolder()
        defer { share.remove() }
        let result = share.path + "/result.json"
        let code = try Command.passThrough(
            ["scripts/lab-vm", "run"] + machine + ["--timeout", "1500", "--share", share.path, "--", path] + arguments
                + ["--json", result])
        if let json, access(result, R_OK) == 0 {
            let copy = try Command.run(["cp", result, json])
            guard copy.exitCode == 0 else { throw LabError("cannot write \(json): \(copy.errors)") }
        }
        unlink(result)
        return code
    }
}
