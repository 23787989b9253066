import CNetlink

/// Flags of a netlink message header (`nlmsg_flags`, netlink(7)).
public struct MessageFlags: OptionSet, Hashable, Sendable {
    public let rawValue: UInt16

    /// - Parameter rawValue: the bits.
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    private init(_ bits: Int32) { self.rawValue = UInt16(truncatingIfNeeded: bits) }

    /// It is a request. The corresponding C constant is `NLM_F_REQUEST`.
    public static let request = MessageFlags(NLM_F_REQUEST)
    /// Answer with an acknowledgement. The corresponding C constant is `NLM_F_ACK`.
    public static let acknowledge = MessageFlags(NLM_F_ACK)
    /// Return the whole table. The corresponding C constant is `NLM_F_DUMP`.
    public static let dump = MessageFlags(NLM_F_DUMP)
    /// Create what is missing. The corresponding C constant is `NLM_F_CREATE`.
    public static let create = MessageFlags(NLM_F_CREATE)
    /// Refuse what exists. The corresponding C constant is `NLM_F_EXCL`.
    public static let exclusive = MessageFlags(NLM_F_EXCL)
    /// Replace what exists. The corresponding C constant is `NLM_F_REPLACE`.
    public static let replace = MessageFlags(NLM_F_REPLACE)
    /// Add to the end of a list. The corresponding C constant is `NLM_F_APPEND`.
    public static let append = MessageFlags(NLM_F_APPEND)
    /// The dump changed under the reader. The corresponding C constant is `NLM_F_DUMP_INTR`.
    public static let dumpInterrupted = MessageFlags(NLM_F_DUMP_INTR)
    /// An acknowledgement without the request's payload. The corresponding C constant is `NLM_F_CAPPED`.
    public static let capped = MessageFlags(NLM_F_CAPPED)
    /// An acknowledgement with attributes. The corresponding C constant is `NLM_F_ACK_TLVS`.
    public static let acknowledgeAttributes = MessageFlags(NLM_F_ACK_TLVS)
}

/// The type of a netlink message (`nlmsg_type`, rtnetlink(7)).
public struct MessageType: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt16

    /// - Parameter rawValue: the kernel's number.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// An error or acknowledgement. The corresponding C constant is `NLMSG_ERROR`.
    public static let error = MessageType(rawValue: UInt16(NLMSG_ERROR))
    /// The end of a dump. The corresponding C constant is `NLMSG_DONE`.
    public static let done = MessageType(rawValue: UInt16(NLMSG_DONE))
    /// No operation. The corresponding C constant is `NLMSG_NOOP`.
    public static let noOperation = MessageType(rawValue: UInt16(NLMSG_NOOP))
    /// Data was lost. The corresponding C constant is `NLMSG_OVERRUN`.
    public static let overrun = MessageType(rawValue: UInt16(NLMSG_OVERRUN))
    /// The corresponding C constant is `RTM_NEWLINK`.
    public static let newLink = MessageType(rawValue: UInt16(RTM_NEWLINK))
    /// The corresponding C constant is `RTM_DELLINK`.
    public static let deleteLink = MessageType(rawValue: UInt16(RTM_DELLINK))
    /// The corresponding C constant is `RTM_GETLINK`.
    public static let getLink = MessageType(rawValue: UInt16(RTM_GETLINK))
    /// The corresponding C constant is `RTM_SETLINK`.
    public static let setLink = MessageType(rawValue: UInt16(RTM_SETLINK))
    /// An interface's counters. The corresponding C constant is `RTM_GETSTATS`.
    public static let getStatistics = MessageType(rawValue: UInt16(RTM_GETSTATS))
    /// The corresponding C constant is `RTM_NEWNEIGH`.
    public static let newNeighbour = MessageType(rawValue: UInt16(RTM_NEWNEIGH))
    /// The corresponding C constant is `RTM_DELNEIGH`.
    public static let deleteNeighbour = MessageType(rawValue: UInt16(RTM_DELNEIGH))
    /// The VLANs of bridge ports. The corresponding C constant is `RTM_NEWVLAN`.
    public static let newVLAN = MessageType(rawValue: UInt16(RTM_NEWVLAN))
    /// The corresponding C constant is `RTM_GETVLAN`.
    public static let getVLAN = MessageType(rawValue: UInt16(RTM_GETVLAN))
    /// A multicast group membership of a bridge port. The corresponding C constant is `RTM_NEWMDB`.
    public static let newGroup = MessageType(rawValue: UInt16(RTM_NEWMDB))
    /// The corresponding C constant is `RTM_DELMDB`.
    public static let deleteGroup = MessageType(rawValue: UInt16(RTM_DELMDB))
    /// The corresponding C constant is `RTM_GETMDB`; a dump's replies are of this type too.
    public static let getGroup = MessageType(rawValue: UInt16(RTM_GETMDB))
    /// A queueing discipline. The corresponding C constant is `RTM_NEWQDISC`.
    public static let newQueueingDiscipline = MessageType(rawValue: UInt16(RTM_NEWQDISC))
    /// The corresponding C constant is `RTM_DELQDISC`.
    public static let deleteQueueingDiscipline = MessageType(rawValue: UInt16(RTM_DELQDISC))
    /// The corresponding C constant is `RTM_GETQDISC`.
    public static let getQueueingDiscipline = MessageType(rawValue: UInt16(RTM_GETQDISC))
    /// A filter of a queueing discipline. The corresponding C constant is `RTM_NEWTFILTER`.
    public static let newFilter = MessageType(rawValue: UInt16(RTM_NEWTFILTER))
    /// The corresponding C constant is `RTM_DELTFILTER`.
    public static let deleteFilter = MessageType(rawValue: UInt16(RTM_DELTFILTER))
    /// The corresponding C constant is `RTM_GETTFILTER`.
    public static let getFilter = MessageType(rawValue: UInt16(RTM_GETTFILTER))
    /// The controller of generic netlink. The corresponding C constant is `GENL_ID_CTRL`.
    public static let genericControl = MessageType(rawValue: UInt16(NLMSG_MIN_TYPE))
    /// The corresponding C constant is `RTM_GETNEIGH`.
    public static let getNeighbour = MessageType(rawValue: UInt16(RTM_GETNEIGH))
}

/// The fields of `struct nlmsghdr` that a reader needs.
public struct MessageHeader: Hashable, Sendable {
    /// The size of `struct nlmsghdr` in bytes.
    public static let size = 16

    /// Bytes of the message with its header (`nlmsg_len`).
    public let length: Int
    /// The type of the message (`nlmsg_type`).
    public let type: MessageType
    /// Its flags (`nlmsg_flags`).
    public let flags: MessageFlags
    /// The sequence number of the request that it answers (`nlmsg_seq`), 0 for a notification.
    public let sequence: UInt32
    /// The port id that it is addressed to (`nlmsg_pid`).
    public let portID: UInt32

    /// Makes a header from its parts.
    public init(length: Int, type: MessageType, flags: MessageFlags, sequence: UInt32, portID: UInt32) {
        self.length = length
        self.type = type
        self.flags = flags
        self.sequence = sequence
        self.portID = portID
    }
}
