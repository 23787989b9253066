import System

extension HookConfiguration {
    /// Reads `/etc/fdbsteer/libvirt-hook.conf`, which may be missing, or the file that FDBSTEER_HOOK_CONFIGURATION names, which may not.
    /// One that cannot be read has that as its complaint.
    package static func ofHost() -> HookConfiguration {
        let named = Environment.value("FDBSTEER_HOOK_CONFIGURATION")
        let path = named ?? "/etc/fdbsteer/libvirt-hook.conf"
        let limit = 1 << 20
        var unread = HookConfiguration()
        do throws(SystemError) {
            let bytes = try SystemFile.contents(of: path, limit: limit + 1)
            if bytes.count <= limit { return HookConfiguration(bytes) }
            unread.complaints = ["\(path) is longer than \(limit) bytes"]
        } catch {
            if error.errno == .noEntry, named == nil { return unread }
            unread.complaints = ["\(error)"]
        }
        return unread
    }
}

extension DomainXML {
    /// How long virsh may take, in nanoseconds: it waits for a libvirtd that hangs as long as that does.
    private static let patience: Int64 = 10_000_000_000

    /// Asks virsh for a domain. What it prints as errors beside the XML is no part of it.
    ///
    /// - Parameter name: libvirt's name.
    /// - Throws: ``Failure`` with virsh's words.
    package static func ofVirsh(_ name: String) throws(Failure) -> DomainXML {
        let virsh: ChildProcess.Ended
        do throws(SystemError) {
            virsh = try ChildProcess.output(
                of: ["virsh", "dumpxml", "--", name], limit: DomainXML.limit + 1, within: patience)
        } catch {
            throw Failure(description: "virsh dumpxml \(name): \(error)")
        }
        guard virsh.code == 0 else {
            let lines = String(decoding: virsh.errors, as: UTF8.self).split(separator: "\n").map {
                $0.hasPrefix("error: ") ? String($0.dropFirst(7)) : String($0)
            }
            throw Failure(description: "virsh dumpxml \(name): \(lines.joined(separator: "; "))")
        }
        return try DomainXML(virsh.output)
    }
}
