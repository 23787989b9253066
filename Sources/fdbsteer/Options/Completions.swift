import ArgumentParser

/// What a shell offers for a word (`fdbsteer --generate-completion-script bash`).
enum Completions {
    /// The guests that have a record.
    static let guests = CompletionKind.shellCommand(
        #"ls "${FDBSTEER_STATE:-/run/fdbsteer}/guests" 2>/dev/null | sed -n 's/[.]json$//p'"#)
    /// The bridges of this network namespace.
    static let bridges = CompletionKind.shellCommand("ls -d /sys/class/net/*/bridge 2>/dev/null | cut -d/ -f5")
    /// Its interfaces.
    static let interfaces = CompletionKind.shellCommand("ls /sys/class/net")
}
