package import FDB
package import Switchdev

/// What an entry's position shows.
package enum EntryOrigin: Hashable, Sendable {
    /// A frame of the address came in by the port, in software or in hardware.
    case frame
    /// A control plane says so: an entry with NTF_EXT_LEARNED that no switch has made (zebra's, in an EVPN fabric).
    case controlPlane
    /// A program wrote it: the port does not learn, or the entry is the host's own.
    case program

    /// - Parameter port: the port that the entry is on; nil if it is unknown.
    package init(_ entry: Entry, on port: Link?) {
        if entry.isLocal {
            self = .program
        } else if entry.flags.contains(.externallyLearned), port?.isEswitchPort != true {
            self = .controlPlane
        } else {
            self = port?.bridgePort?.flags.contains(.learning) == true ? .frame : .program
        }
    }
}
