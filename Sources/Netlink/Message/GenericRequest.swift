import CNetlink
import System

/// A request to a generic netlink family: `struct genlmsghdr` (linux/genetlink.h), then attributes.
public struct GenericRequest: Request {
    /// The family's number, which a generic netlink message has as its `nlmsg_type`.
    public let type: MessageType
    public var flags: MessageFlags { [] }
    private let command: UInt8
    private let version: UInt8
    private let attributes: (inout MessageBody) -> Void

    /// The size of `struct genlmsghdr` in bytes. A reply's attributes begin after it.
    public static let headerSize = 4

    /// - Parameters:
    ///   - family: the family's number in this kernel (``CommandSocket/family(named:)``).
    ///   - command: the family's command number.
    ///   - version: the version of the family's interface.
    ///   - attributes: writes the attributes.
    public init(
        family: MessageType, command: UInt8, version: UInt8 = 1,
        attributes: @escaping (inout MessageBody) -> Void = { _ in }
    ) {
        type = family
        self.command = command
        self.version = version
        self.attributes = attributes
    }

    public func encode(into body: inout MessageBody) {
        body.put(genlmsghdr(cmd: command, version: version, reserved: 0))
        attributes(&body)
    }
}

extension CommandSocket {
    /// The number that this kernel gave a generic netlink family; nil if the kernel has no such family.
    ///
    /// - Parameter name: the family's name, for example `devlink`.
    /// - Throws: ``NetlinkError`` if the kernel refuses for another reason, or its answer is lost.
    public mutating func family(named name: String) throws(NetlinkError) -> MessageType? {
        let request = GenericRequest(family: .genericControl, command: UInt8(CTRL_CMD_GETFAMILY)) {
            $0.put(Int(CTRL_ATTR_FAMILY_NAME), text: name)
        }
        var family: MessageType?
        try get([request]) { (_, reply) throws(NetlinkError) in
            switch reply {
            case .success(let (_, payload)):
                for attribute in AttributeReader(payload, from: GenericRequest.headerSize)
                where attribute.type == Int(CTRL_ATTR_FAMILY_ID) {
                    family = attribute.integer(as: UInt16.self).map(MessageType.init)
                }
            case .failure(let error):
                guard error.errno == .noEntry else { throw error.during("cannot find the netlink family \(name)") }
            }
        }
        return family
    }
}
