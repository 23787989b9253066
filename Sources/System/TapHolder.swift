import CNetlink
import Glibc

/// Who holds a tap: what its counters say depends on that.
package enum TapHolder {
    /// Why a tap's counters do not say which of its frames a process has taken; nil where they do: the process holds the tap by one
    /// descriptor, and reads it itself.
    ///
    /// The descriptors are listed by `/proc/PID/fd`, and those of taps say their names (`iff:` of `tun_chr_show_fdinfo`,
    /// drivers/net/tun.c). A process of another user shows them with CAP_SYS_PTRACE only.
    ///
    /// - Parameters:
    ///   - tap: its name.
    ///   - process: 0: it is not known.
    package static func doubt(about tap: String, readBy process: Int32) -> String? {
        guard process > 0 else { return "the process behind QEMU's monitor is not known" }
        let folder = "/proc/\(process)/fd"
        guard let directory = opendir(folder) else { return "the descriptors of process \(process) cannot be read" }
        defer { closedir(directory) }
        var (queues, isVhost) = (0, false)
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard name.first != ".", let target = link("\(folder)/\(name)") else { continue }
            if target == "/dev/vhost-net" { isVhost = true }
            if target == "/dev/net/tun", text("/proc/\(process)/fdinfo/\(name)").contains("\niff:\t\(tap)\n") {
                queues += 1
            }
        }
        if isVhost { return "vhost reads \(tap) for process \(process)" }
        if queues == 1 { return nil }
        return queues == 0
            ? "the process behind QEMU's monitor (\(process)) does not read \(tap)"
            : "\(tap) is read by \(queues) queues"
    }

    private static func link(_ path: String) -> String? {
        var buffer = [UInt8](repeating: 0, count: 64)
        let length = readlink(path, &buffer, buffer.count)
        return length > 0 ? String(decoding: buffer[..<length], as: UTF8.self) : nil
    }

    private static func text(_ path: String) -> String {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return "" }
        defer { close(file) }
        return "\n"
            + ((try? SystemFile.contents(of: file, limit: 4096)).map { String(decoding: $0, as: UTF8.self) } ?? "")
    }
}

/// The process at the other end of a connected Unix socket: the one that listened there; 0 where that cannot be told.
package func peerProcess(of descriptor: Int32) -> Int32 { cn_peer_process(descriptor) }
