import Netlink

/// A netlink message in words, and the command of `bridge` that sends the same.
package struct RequestWords {
    /// The message.
    package let netlink: String
    /// The command.
    package let bridgeCommand: String
}

extension EntryRequest {
    /// The message in words, and the `bridge fdb` command that sends the same.
    package func words(name: (Int32) -> String) -> RequestWords {
        let vlan = address.vlan.map { " vlan \($0)" } ?? ""
        if type == .deleteNeighbour {
            return RequestWords(
                netlink: "RTM_DELNEIGH \(address) \(name(port)) NTF_MASTER",
                bridgeCommand: "bridge fdb del \(address.mac) dev \(name(port)) master\(vlan)")
        }
        var words = ["RTM_NEWNEIGH \(address) \(name(port))"]
        if flags.contains(.create) { words.append("NLM_F_CREATE") }
        if flags.contains(.replace) { words.append("NLM_F_REPLACE") }
        if flags.contains(.exclusive) { words.append("NLM_F_EXCL") }
        words.append("NTF_MASTER")
        if entryFlags.contains(.use) { words.append("NTF_USE") }
        if entryFlags.contains(.sticky) { words.append("NTF_STICKY") }
        let isExternal = entryFlags.contains(.externallyLearned)
        if isExternal { words.append("NTF_EXT_LEARNED") }
        words.append(state == .noARP ? "NUD_NOARP" : "NUD_REACHABLE")
        let command = flags.contains(.exclusive) ? "add" : "replace"
        let kind = isExternal ? "extern_learn" : state == .noARP ? "static" : "dynamic"
        let extras = (entryFlags.contains(.use) ? " use" : "") + (entryFlags.contains(.sticky) ? " sticky" : "")
        return RequestWords(
            netlink: words.joined(separator: " "),
            bridgeCommand: "bridge fdb \(command) \(address.mac) dev \(name(port)) master \(kind)\(extras)\(vlan)")
    }
}

extension GroupRequest {
    /// The message in words, and the `bridge mdb` command that sends the same.
    package func words(name: (Int32) -> String) -> RequestWords {
        let place = "dev \(name(bridge)) port \(name(port)) grp \(key.group)"
        let source = key.source.map { " src \($0)" } ?? ""
        let vlan = key.vlan.map { " vid \($0)" } ?? ""
        if type == .deleteGroup {
            return RequestWords(
                netlink: "RTM_DELMDB \(name(bridge)) \(name(port)) \(key)",
                bridgeCommand: "bridge mdb del \(place)\(source)\(vlan)")
        }
        let kind = state == .permanent ? "permanent" : "temp"
        var words = ["RTM_NEWMDB \(name(bridge)) \(name(port)) \(key) NLM_F_CREATE"]
        if isRenewal { words.append("NLM_F_REPLACE") }
        words.append(state == .permanent ? "MDB_PERMANENT" : "MDB_TEMPORARY")
        var extras = ""
        if let mode {
            words.append(mode == .include ? "MCAST_INCLUDE" : "MCAST_EXCLUDE")
            extras += " filter_mode \(mode == .include ? "include" : "exclude")"
        }
        if !sources.isEmpty {
            let list = sources.map(\.description).joined(separator: ",")
            words.append("MDBE_ATTR_SRC_LIST \(list)")
            extras += " source_list \(list)"
        }
        if let maker = self.protocol {
            words.append("MDBE_ATTR_RTPROT \(maker.rawValue)")
            extras += " proto \(maker.rawValue)"
        }
        return RequestWords(
            netlink: words.joined(separator: " "),
            bridgeCommand: "bridge mdb \(isRenewal ? "replace" : "add") \(place)\(source) \(kind)\(vlan)\(extras)")
    }
}
