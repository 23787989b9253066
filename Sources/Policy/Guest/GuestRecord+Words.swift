/// Why a guest has to be left alone for now.
extension GuestRecord {
    /// What closes its open bracket.
    package var closing: String {
        let id = guest.id
        return
            "\"fdbsteer switch \(id) --to \((goal ?? guest.side).rawValue) --close\" when the guest is there, \"fdbsteer abort \(id)\" "
            + "to give it up"
    }

    /// Why another verb has to wait for its bracket; nil without one.
    package var bracketInTheWay: ControllerError? {
        guard bracket != nil else { return nil }
        if phase == .bracketed {
            return ControllerError(
                .precondition,
                "a bracket of guest \(guest.id) from \(guest.side.rawValue) to \((goal ?? guest.side).rawValue) is open",
                remedy: closing)
        }
        return ControllerError(
            .precondition, "the \(phase.rawValue) of a bracket of guest \(guest.id) did not end",
            remedy: "run \"fdbsteer abort \(guest.id)\" first")
    }

    /// What a process that died has begun and not ended; the bracket's part of it first.
    package var unfinished: ControllerError {
        bracketInTheWay
            ?? ControllerError(
                .precondition, "an earlier \(phase.rawValue) of guest \(guest.id) did not end",
                remedy: "run \"fdbsteer abort \(guest.id)\" first")
    }
}
