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

    /// - Parameter tell: takes why a signal cannot be heard at present, once for each reason.
    /// - Throws: ``ControllerError`` as the verbs that it consists of.
    package func run(
        _ id: GuestID, on host: inout Host, tell: (String) -> Void = { _ in }
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
