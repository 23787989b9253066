import ArgumentParser
import Controller
import Policy
import Records
import System

/// The signals to wait for before a redirection.
struct WaitOptions: ParsableArguments {
    @Option(
        name: .customLong("until"), parsing: .singleValue,
        help: ArgumentHelp(
            "Wait for a signal, then move; several times: for the first of them.",
            discussion: "\(Signal.forms). \(Signal.explanation)", valueName: "signal"))
    var signals: [String] = []
    @Option(
        help: "How long to wait for a signal, by default 10s; a cut changes nothing when none comes (exit code 6).",
        transform: TimeLimit.read)
    var timeout: TimeLimit?

    @Option(
        help:
            "What becomes of a bracket without a signal: abort (closed where the guest was) or stay (open, the default)."
    )
    var onTimeout: OnTimeout?

    /// What happens to an open bracket if no signal arrived.
    enum OnTimeout: String, ExpressibleByArgument, CaseIterable {
        case abort, stay
    }

    /// The wait; nil if there is nothing to wait for.
    func wait() throws(ControllerError) -> SignalWait? {
        var parsed: [Signal] = []
        for text in signals { parsed.append(try Signal(text)) }
        return parsed.isEmpty
            ? nil : SignalWait(signals: parsed, timeout: timeout?.nanoseconds ?? SignalWait.defaultTimeout)
    }
}

extension SignalSighting {
    /// The sighting as one line for people.
    var words: String {
        wasAlready ? "signal: \(seen), already so" : "signal: \(seen), after \(Output.duration(waitedNanoseconds))"
    }
}

extension WaitView {
    /// The awaited signals, and the start of the wait.
    var words: String {
        "\(signals.joined(separator: " or ")) since \(Output.duration(max(0, Stopwatch.realTime - since)))"
    }
}
