/// What the hook cannot know from a domain's XML: a file of lines `uplink BRIDGE PORT`,
/// `port PCI PORT`, `state FOLDER`, `ignore DOMAIN`.
public struct HookConfiguration: Hashable, Sendable {
    /// By bridge: the port behind which other hosts are.
    public var uplinks: [String: String] = [:]
    /// By the PCI address of a VF: its port in the bridge, where devlink does not tell.
    public var ports: [String: String] = [:]
    /// The folder of journal and history; nil: where `fdbsteer` has them by default.
    public var state: String?
    /// Domains that are left alone.
    public var ignored: Set<String> = []
    /// Lines that say nothing.
    public var complaints: [String] = []

    /// Nothing is configured.
    public init() {}

    /// Reads the file's text; `#` begins a comment.
    public init(_ text: String) {
        for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let words = line.prefix { $0 != "#" }.split { $0 == " " || $0 == "\t" || $0 == "\r" }.map(String.init)
            switch (words.first, words.count) {
            case (nil, _): break
            case ("uplink", 3): uplinks[words[1]] = words[2]
            case ("port", 3): ports[words[1]] = words[2]
            case ("state", 2): state = words[1]
            case ("ignore", 2): ignored.insert(words[1])
            default: complaints.append("line \(number + 1) is not understood: \(line)")
            }
        }
    }
}
