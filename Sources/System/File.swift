import Glibc

/// A failed access to a file of sysfs.
public struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The file.
    public let path: String?
    /// The attempted operation.
    public let activity: String
    /// The kernel's error number.
    public let errno: KernelErrno

    /// - Parameters:
    ///   - activity: what was attempted.
    ///   - path: the file, if one was involved.
    ///   - errno: the kernel's error number, positive.
    package init(_ activity: String, path: String? = nil, errno: Int32) {
        self.path = path
        self.activity = activity
        self.errno = KernelErrno(rawValue: errno)
    }

    public var description: String { "\(activity)\(path.map { " (\($0))" } ?? ""): \(errno)" }
}

/// Small files of sysfs.
package enum SystemFile {
    /// The first line; nil if the file cannot be read.
    package static func read(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        return withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { buffer in
            let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
            guard count >= 0 else { return nil }
            return String(decoding: buffer.prefix(count).prefix { $0 != 0x0a }, as: UTF8.self)
        }
    }

    /// Writes a text with one write call, as sysfs requires.
    package static func write(_ text: String, to path: String, activity: String) throws(SystemError) {
        let descriptor = open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw SystemError(activity, path: path, errno: errno)
        }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else {
            throw SystemError(activity, path: path, errno: errno)
        }
    }

    /// The last part of a link's target; nil if there is no such link.
    package static func linkName(_ path: String) -> String? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 4096) { buffer in
            guard let base = buffer.baseAddress else { return nil }
            let count = readlink(path, base, buffer.count - 1)
            guard count > 0 else { return nil }
            let target = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
            return target.split(separator: "/").last.map(String.init)
        }
    }

    /// The names in a folder except those with a leading dot; empty if there is no such folder.
    package static func names(in path: String) -> [String] {
        guard let folder = opendir(path) else { return [] }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }
}
