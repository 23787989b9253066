import Controller
import Policy
import Records
import System

extension Call {
    /// The names of guests, each once, in the order given; exits with 64 for one that cannot be a name.
    func ids(_ names: [String]) -> [GuestID] {
        check { () throws(ControllerError) in
            var ids: [GuestID] = []
            for name in names {
                let id = try GuestID(name)
                if !ids.contains(id) { ids.append(id) }
            }
            return ids
        }
    }

    /// Asks a verb about guests one after the other. All are tried; one that was named alone answers as the verb does.
    ///
    /// - Parameters:
    ///   - isList: the guests were not named one by one: the answer has a list, also of one or none.
    ///   - print: what a person reads of an answer.
    ///   - exitCode: of an answer.
    /// - Returns: the worst exit code.
    func ask<Answer: Encodable>(
        _ ids: [GuestID], isList: Bool = false, on host: inout Host, exitCode: (Answer) -> Int32,
        print: (Answer) -> Void, _ verb: (GuestID, inout Host) throws(ControllerError) -> Answer
    ) throws(ControllerError) -> Int32 {
        if ids.count == 1, !isList {
            let answer = try verb(ids[0], &host)
            if json { Output.json(answer) } else { print(answer) }
            return exitCode(answer)
        }
        var (answers, worst): ([GuestAnswer<Answer>], Int32) = ([], 0)
        for id in ids {
            do throws(ControllerError) {
                let answer = try verb(id, &host)
                if !json { print(answer) }
                worst = ControllerError.Code.worse(worst, exitCode(answer))
                answers.append(.given(answer))
            } catch {
                Output.error("fdbsteer: \(id): \(error)")
                worst = ControllerError.Code.worse(worst, error.code.rawValue)
                answers.append(.refused(id, error))
            }
        }
        if json { Output.json(GuestAnswers(answers)) }
        return worst
    }

    /// All guests of this network namespace in natural order. What is wrong with broken records is said, and which guests are left out
    /// because the kernel has nothing of them any more.
    func allGuests() throws(ControllerError) -> (records: [GuestRecord], hasFaults: Bool) {
        try folder.requireNamed()
        sayWhyEmpty()
        guard let journal = try Journal(reading: folder) else { return ([], false) }
        let (near, void, elsewhere, faults) = try journal.nearby()
        for fault in faults { Output.error("fdbsteer: \(fault)") }
        for record in void {
            Output.error("fdbsteer: \(record.guest.id) is void, the kernel has nothing of it any more: left alone")
        }
        if elsewhere > 0 {
            Output.error(
                "fdbsteer: \(elsewhere == 1 ? "1 guest" : "\(elsewhere) guests") of other network namespaces left alone: "
                    + "\"fdbsteer status\" names them")
        }
        return (near, !faults.isEmpty)
    }

    /// Says on standard error that a folder that the caller has named has nothing of fdbsteer in it.
    func sayWhyEmpty() {
        if let words = folder.surprise { Output.error("fdbsteer: \(words)") }
    }
}
