import Controller
import Policy
import Records

/// `fdbsteer switch GUEST --to SIDE [--json] [--state FOLDER]`, in this order or another, and nothing else.
struct PlainSwitch {
    let guest: GuestID
    let side: Side
    let call: Call

    /// - Returns: nil for every other command line: the argument parser knows what to say of it.
    init?(_ arguments: some Sequence<String>) {
        var rest = arguments.makeIterator()
        guard rest.next() == "switch" else { return nil }
        var guest: GuestID?
        var side: Side?
        var state: String?
        var json = false
        while let word = rest.next() {
            switch word {
            case "--to":
                guard side == nil, let value = rest.next().flatMap(Side.init) else { return nil }
                side = value
            case "--state":
                guard state == nil, let value = rest.next(), !value.isEmpty, !value.hasPrefix("-") else { return nil }
                state = value
            case "--json":
                json = true
            default:
                guard guest == nil, let id = try? GuestID(word) else { return nil }
                guest = id
            }
        }
        guard let guest, let side else { return nil }
        self.guest = guest
        self.side = side
        call = Call(
            folder: StateFolder(state ?? CommonOptions.environmentFolder, by: Doer(verb: "switch")), json: json,
            dryRun: false)
    }

    func run() -> Never {
        call.run { host throws(ControllerError) in
            call.show(try Switch(to: side).run(guest, on: &host))
        }
    }
}
