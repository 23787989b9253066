import System

/// The names of users (/etc/passwd). The C library's getpwuid(3) would need a dynamic linker.
enum UserName {
    /// The name of a user; the number where there is none.
    static func of(_ number: Int64) -> String { names[number] ?? "uid \(number)" }

    private static let names: [Int64: String] = {
        let bytes = (try? SystemFile.contents(of: "/etc/passwd", limit: 1 << 20)) ?? []
        var names: [Int64: String] = [:]
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            let fields = line.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
            guard fields.count > 2, let number = Int64(String(decoding: fields[2], as: UTF8.self)) else { continue }
            if names[number] == nil { names[number] = String(decoding: fields[0], as: UTF8.self) }
        }
        return names
    }()
}
