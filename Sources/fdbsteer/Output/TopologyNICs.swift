import Controller
import FDB
import Policy
import Records
import Switchdev

extension TopologyCommand {
    /// Prints a NIC with its VFs and the verdict about its kind.
    func show(_ view: Topology.NICView) {
        Output.line("nic \(view.link.name)  \(view.nic)")
        let functions = view.link.virtualFunctions
        for (index, vf) in functions.enumerated() {
            Output.line((index == functions.count - 1 ? "└─ " : "├─ ") + vf.words)
        }
        guard let verdict = view.verdict?.verdict else {
            Output.line("   filters not probed (\"fdbsteer probe mac-filter\")")
            return
        }
        for line in verdict.words { Output.line("   ! \(line)") }
    }
}

extension VirtualFunction {
    /// One line with the number, the MAC, and the settings that can block frames.
    var words: String {
        var words = ["vf \(index)", mac.isZero ? "no MAC" : mac.description]
        if vlan != 0 { words.append("vlan \(vlan)") }
        if let checksSource { words.append("spoofchk \(checksSource ? "on" : "off")") }
        if let isTrusted { words.append("trust \(isTrusted ? "on" : "off")") }
        if let linkState { words.append("link \(linkState)") }
        return words.joined(separator: "  ")
    }
}
