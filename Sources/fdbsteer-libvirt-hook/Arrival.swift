import Glibc
import System

/// Whether a domain that starts waits for its guest from another host.
///
/// libvirt calls `migrate` before it starts the QEMU that receives, and `started` in the same way for every start: so the first
/// leaves a mark, and the second believes it only when QEMU was started to receive (`-incoming`, which restoring a domain
/// uses too, after `restore`).
struct Arrival {
    private let domain: String
    private let folder: String
    private let mark: String

    /// - Parameters:
    ///   - domain: its name.
    ///   - folder: of the journal.
    init(_ domain: String, folder: String) {
        self.domain = domain
        self.folder = folder
        // The name becomes part of a path.
        let name = domain.utf8.map { byte in
            let isPlain =
                (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
                || byte == 0x2d
            return isPlain ? String(Unicode.Scalar(byte)) : "_" + String(byte, radix: 16)
        }.joined()
        mark = folder + "/arriving-" + name.prefix(200)
    }

    func expect() {
        mkdir(folder, 0o750)
        let file = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        if file >= 0 { close(file) }
    }

    func forget() { unlink(mark) }

    var isDue: Bool { access(mark, F_OK) == 0 && (receives ?? true) }

    /// QEMU was started to receive a guest; nil when that is not known.
    private var receives: Bool? {
        let folder = Environment.value("FDBSTEER_LIBVIRT_RUN") ?? "/run/libvirt/qemu"
        guard !domain.contains("/"), !domain.hasPrefix(".") else { return nil }
        let text = (try? SystemFile.contents(of: "\(folder)/\(domain).pid", limit: 32)) ?? []
        guard let process = Int32(String(decoding: text.prefix { $0 > 0x20 }, as: UTF8.self)) else { return nil }
        let line = (try? SystemFile.contents(of: "/proc/\(process)/cmdline", limit: 1 << 20)) ?? []
        return line.isEmpty ? nil : line.split(separator: 0).contains { $0.elementsEqual("-incoming".utf8) }
    }
}
