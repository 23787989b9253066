import Switchdev

extension Evidence {
    /// The form in the history, in one column: a line with the times, then a line for each port and moment. More tables would
    /// mean more pages to write for each redirection.
    package var record: String {
        var text = "\(observedNanoseconds) \(becameQuiet ? 1 : 0) \(proofNanoseconds)"
        for port in ports {
            for moment in Evidence.Moment.allCases {
                guard let counters = port.counters[moment] else { continue }
                text += "\n"
                text += port.name
                text += " "
                text += port.side.rawValue
                text += " "
                text += moment.rawValue
                for number in [counters.rxPackets, counters.txPackets, counters.rxDropped, counters.txDropped] {
                    text += " "
                    text += String(number)
                }
            }
        }
        return text
    }

    /// The duration of the proof, from the first line of a ``record``; nil if the text is not one.
    package static func proofNanoseconds(inRecord record: String) -> Int64? {
        let words = record.prefix { $0 != "\n" }.split(separator: " ")
        return words.count == 3 ? Int64(words[2]) : nil
    }

    /// - Returns: nil if the text is not in the form of ``record``.
    package init?(record: String, from: Side, to: Side) {
        let lines = record.split(separator: "\n").map { $0.split(separator: " ") }
        guard let first = lines.first, first.count == 3, let observed = Int64(first[0]), let proof = Int64(first[2])
        else {
            return nil
        }
        self.init(ports: [], from: from, to: to)
        observedNanoseconds = observed
        becameQuiet = first[1] == "1"
        proofNanoseconds = proof
        for words in lines.dropFirst() {
            let numbers = words.dropFirst(3).compactMap { UInt64($0) }
            guard numbers.count == 4, let side = Side(rawValue: String(words[1])),
                let moment = Moment(rawValue: String(words[2]))
            else { return nil }
            let index = ports.firstIndex { $0.name == words[0] } ?? ports.endIndex
            if index == ports.endIndex { ports.append(Port(name: String(words[0]), side: side)) }
            ports[index].counters[moment] = .init(
                rxPackets: numbers[0], txPackets: numbers[1], rxDropped: numbers[2], txDropped: numbers[3])
        }
    }
}
