/// What a domain's XML does not tell the hook, from a file of lines `uplink BRIDGE PORT`, `port PCI PORT`, `state FOLDER`,
/// `ignore DOMAIN`.
package struct HookConfiguration: Hashable, Sendable {
    /// For each bridge the port towards other hosts.
    package var uplinks: [String: String] = [:]
    /// For each VF's PCI address its port in the bridge, where devlink does not report it.
    package var ports: [String: String] = [:]
    /// The folder for journal and history; nil for the defaults of `fdbsteer`.
    package var state: String?
    /// Domains that the hook ignores.
    package var ignored: Set<String> = []
    /// Lines that could not be understood.
    package var complaints: [String] = []

    /// An empty configuration.
    package init() {}

    /// Parses the text of the file; `#` begins a comment.
    package init(_ text: String) {
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
