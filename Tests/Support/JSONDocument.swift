import JSON
import Lab
import System

/// What docs/json.md says, and how an answer differs from it.
package struct JSONDocument {
    private struct Key {
        let type: String
        let isOptional: Bool
    }

    /// The keys of each object.
    private let objects: [String: [String: Key]]
    /// The words of each type that has words.
    package let words: [String: Set<String>]
    /// The keys that answers have had until now, as `object.key`.
    private var seen: Set<String> = []

    /// Objects that only a NIC or a switch has: the lab VM's tests see them.
    package static let ofHardware: Set = [
        "eswitch", "devlink_port", "nic", "nic_identity", "function", "probe", "probed_state", "probed_parts",
        "verdict", "stored_verdict",
    ]

    /// Reads the document.
    package init() {
        var (objects, words): ([String: [String: Key]], [String: Set<String>]) = ([:], [:])
        var (section, object) = ("", "")
        for line in TextFile.read(Checkout.path + "/docs/json.md").split(separator: "\n").map(String.init) {
            if line.hasPrefix("## ") { section = String(line.dropFirst(3)) }
            if line.hasPrefix("### ") { object = String(line.dropFirst(4)) }
            let cells = line.split(separator: "|").map { $0.trimmingPrefix { $0 == " " } }.map {
                String($0.reversed().trimmingPrefix { $0 == " " }.reversed())
            }
            guard line.hasPrefix("| "), cells.count >= 2 else { continue }
            if section == "Objects", cells[0].first == "`" {
                let type = cells[1]
                objects[object, default: [:]][cells[0].filter { $0 != "`" }] = Key(
                    type: type.filter { $0 != "?" }, isOptional: type.hasSuffix("?"))
            } else if section == "Words", cells[0] != "type" {
                words[cells[0]] = Set(cells[1].split(separator: " ").map { $0.filter { $0 != "`" } })
            }
        }
        (self.objects, self.words) = (objects, words)
    }

    /// Compares an answer with an object of the document.
    ///
    /// - Returns: what differs, in words.
    package mutating func differences(of text: some StringProtocol, from object: String) -> [String] {
        guard let value = JSON(text: String(text)), let members = value.members else {
            return ["it is no object: \(text)"]
        }
        guard members.first == JSON.Member("schema", .integer(1)) else { return ["schema is not the first member"] }
        return differences(.object(Array(members.dropFirst())), object, at: object)
    }

    /// The same of an answer about several guests: each is an object, or was refused.
    package mutating func differences(ofGuests text: String, from object: String) -> [String] {
        let value = JSON(text: text)
        guard value?.members?.map(\.name) == ["schema", "guests"], let guests = value?["guests"]?.elements else {
            return ["it is no list of guests: \(text)"]
        }
        return guests.flatMap { differences($0, $0["error"] == nil ? object : "failed", at: "guests[]") }
    }

    /// Keys that no answer has had, but for objects that only hardware has.
    package func unseen(but others: Set<String>) -> [String] {
        objects.filter { !JSONDocument.ofHardware.contains($0.key) }.flatMap { object, keys in
            keys.keys.map { "\(object).\($0)" }
        }.filter { !seen.contains($0) && !others.contains($0) }.sorted()
    }

    /// Those of objects that only hardware has.
    package func unseenOfHardware(_ objects: [String], but others: Set<String> = []) -> [String] {
        objects.flatMap { object in (self.objects[object] ?? [:]).keys.map { "\(object).\($0)" } }
            .filter { !seen.contains($0) && !others.contains($0) }.sorted()
    }

    private mutating func differences(_ value: JSON, _ object: String, at place: String) -> [String] {
        guard let keys = objects[object] else { return ["docs/json.md has no object \(object)"] }
        guard let members = value.members else { return ["\(place) is no object"] }
        var differences: [String] = []
        var rest = Set(keys.keys)
        for member in members {
            let name = member.name
            if name.hasSuffix("_us"), keys[String(name.dropLast(3))]?.type == "time" { continue }
            guard let key = keys[name] else {
                differences.append("\(place).\(name) is not documented")
                continue
            }
            rest.remove(name)
            seen.insert("\(object).\(name)")
            if key.type == "time" {
                guard let microseconds = value[name + "_us"]?.integer,
                    member.value.text == Timestamp.text(microseconds * 1000, precision: 6)
                else {
                    differences.append("\(place).\(name) and \(name)_us are no time: \(value)")
                    continue
                }
            } else {
                differences += self.differences(member.value, ofType: key.type, at: "\(place).\(name)")
            }
        }
        for name in rest where keys[name]?.isOptional == false { differences.append("\(place).\(name) is missing") }
        return differences
    }

    private mutating func differences(_ value: JSON, ofType type: String, at place: String) -> [String] {
        if type.hasPrefix("[") {
            guard let elements = value.elements else { return ["\(place) is no list"] }
            return elements.flatMap { differences($0, ofType: String(type.dropFirst().dropLast()), at: place + "[]") }
        }
        if type.hasPrefix("{") {
            guard let members = value.members else { return ["\(place) is no object"] }
            return members.flatMap {
                differences($0.value, ofType: String(type.dropFirst().dropLast()), at: "\(place).\($0.name)")
            }
        }
        let isRight: Bool
        switch type {
        case "text", "code": isRight = value.text != nil
        case "bool": isRight = value.bool != nil
        case "integer": isRight = value.integer.map { abs($0) < 1 << 53 } ?? false
        default:
            guard let words = words[type] else { return differences(value, type, at: place) }
            isRight = value.text.map(words.contains) ?? false
        }
        return isRight ? [] : ["\(place) is no \(type): \(value)"]
    }
}
