import ArgumentParser
import Controller
import Glibc
import Policy
import System

/// The guests of a libvirt domain, as the hook finds them: `prepare --domain`.
struct PrepareDomain {
    /// A preparation that the hook would make.
    struct Preparation {
        let id: GuestID
        let request: PreparationRequest
    }

    /// Asks the hook's program, which asks virsh.
    ///
    /// - Parameters:
    ///   - domain: libvirt's name.
    ///   - side: where its guests are; nil: where their entries are, for the domain may have run for long.
    /// - Throws: ``ControllerError`` of code `precondition` with the words of that program.
    static func requests(of domain: String, at side: Side?) throws(ControllerError) -> [Preparation] {
        let (code, text) = try output(["fdbsteer-libvirt-hook", "--check", domain])
        let lines = text.split(separator: "\n")
        guard code == 0 else {
            throw ControllerError(
                .precondition, "domain \(domain) cannot be prepared: \(lines.joined(separator: "; "))",
                remedy:
                    "\"virsh list --all\" lists the domains; /etc/fdbsteer/libvirt-hook.conf says what their XML does not"
            )
        }
        var found: [Preparation] = []
        for line in lines {
            let words = line.split(separator: " ").map(String.init)
            guard words.prefix(2) == ["fdbsteer", "prepare"] else {
                throw ControllerError(
                    .precondition, String(line),
                    remedy: "\"interfaces bridged\" in /etc/fdbsteer/libvirt-hook.conf takes guests with one port too")
            }
            // The hook knows where a guest is when it is started.
            var rest = Array(words.dropFirst(2))
            if let place = rest.firstIndex(of: "--at") { rest.removeSubrange(place...(place + 1)) }
            guard let command = try? PrepareCommand.parse(rest + (side.map { ["--at", $0.rawValue] } ?? [])) else {
                throw ControllerError(.precondition, "the hook's answer is not understood: \(line)")
            }
            let request = try command.request()
            found.append(Preparation(id: request.id, request: request))
        }
        return found
    }

    /// Runs a program beside this one, or of PATH, to its end.
    private static func output(_ words: [String]) throws(ControllerError) -> (Int32, String) {
        var words = words
        var path = [CChar](repeating: 0, count: 4096)
        if readlink("/proc/self/exe", &path, path.count - 1) > 0 {
            let own = String(decoding: path.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            let beside = own.split(separator: "/").dropLast().joined(separator: "/")
            if access("/\(beside)/\(words[0])", X_OK) == 0 { words[0] = "/\(beside)/\(words[0])" }
        }
        do throws(SystemError) {
            return try ChildProcess.output(of: words, limit: 1 << 20)
        } catch {
            throw ControllerError(
                .precondition, "\(words[0]) cannot be started: \(error)", remedy: "install the package fdbsteer-libvirt"
            )
        }
    }
}
