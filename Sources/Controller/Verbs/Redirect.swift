package import Policy

/// What `switch` does to one guest: a cut or a bracket, now or at a signal, or the closing of a bracket.
package struct Redirect {
    let side: Side
    let strategy: Strategy
    let wait: SignalWait?
    let closes: Bool
    let closesWithoutSignal: Bool
    let options: VerbOptions

    /// - Parameters:
    ///   - side: where to.
    ///   - strategy: how frames move.
    ///   - wait: what to wait for; nil for now.
    ///   - closes: closes the open bracket on that side instead.
    ///   - closesWithoutSignal: closes a bracket where the guest was when no signal came; otherwise it stays open.
    package init(
        to side: Side, strategy: Strategy = .cut, until wait: SignalWait? = nil, closes: Bool = false,
        closesWithoutSignal: Bool = false, options: VerbOptions = VerbOptions()
    ) {
        self.side = side
        self.strategy = strategy
        self.wait = wait
        self.closes = closes
        self.closesWithoutSignal = closesWithoutSignal
        self.options = options
    }

    /// What of a call would be passed over in silence, in words; nil for nothing.
    ///
    /// - Parameters:
    ///   - waits: signals are named.
    ///   - limits: how long to wait for them, or what becomes of the bracket without one.
    ///   - names: what the caller calls these three.
    package static func contradiction(
        _ strategy: Strategy, waits: Bool, closes: Bool, limits: (timeout: Bool, onTimeout: Bool),
        names: (until: String, timeout: String, onTimeout: String, close: String)
    ) -> String? {
        if closes, waits {
            return
                "\(names.close) closes the bracket at once: leave \(names.until) out, or leave \(names.close) out and name the "
                + "strategy bracket, which waits beside an open bracket too and closes it then"
        }
        if limits.onTimeout, strategy != .bracket {
            return "\(names.onTimeout) says what becomes of a bracket: it needs the strategy bracket"
        }
        if !waits, limits.timeout || limits.onTimeout {
            return "\(limits.timeout ? names.timeout : names.onTimeout) is for a wait: name a signal by \(names.until)"
        }
        return nil
    }

    /// - Parameter tell: takes why a signal cannot be heard at present, once for each reason.
    /// - Throws: ``ControllerError`` as the verbs that it consists of.
    package func run(
        _ id: GuestID, on host: inout Host, tell: (String) -> Void = { _ in }
    ) throws(ControllerError) -> Report {
        do { return try redirect(id, on: &host, tell) } catch { throw error.despite(options.waived) }
    }

    private func redirect(
        _ id: GuestID, on host: inout Host, _ tell: (String) -> Void
    ) throws(ControllerError) -> Report {
        if closes { return try CloseBracket(at: side, options: options).run(id, on: &host) }
        switch (strategy, wait) {
        case (.cut, nil): return try Switch(to: side, options: options).run(id, on: &host)
        case (.bracket, nil): return try OpenBracket(to: side, options: options).run(id, on: &host)
        case (.cut, let wait?):
            return try SwitchAtSignal(to: side, when: wait, options: options).run(id, on: &host, tell: tell)
        case (.bracket, let wait?):
            return try BracketUntilSignal(
                to: side, until: wait, closesWithoutSignal: closesWithoutSignal, options: options
            ).run(id, on: &host, tell: tell)
        }
    }
}
