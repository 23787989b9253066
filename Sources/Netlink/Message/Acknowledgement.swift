import CNetlink
package import System

/// The payload of an NLMSG_ERROR message: `struct nlmsgerr`, then the attributes of an extended acknowledgement.
package struct Acknowledgement {
    /// nil if the request succeeded.
    package let errno: KernelErrno?
    /// NLMSGERR_ATTR_MSG, verbatim.
    package let extack: String?

    private static let errorSize = 4

    /// - Throws: ``NetlinkError`` of code `malformed` when the payload is shorter than `struct nlmsgerr`.
    package init(header: MessageHeader, payload: UnsafeRawBufferPointer) throws(NetlinkError) {
        let fixed = Acknowledgement.errorSize + MessageHeader.size
        guard payload.count >= fixed else {
            throw NetlinkError(.malformed, "acknowledgement of \(payload.count) bytes where \(fixed) are the least")
        }
        let code = payload.loadUnaligned(as: Int32.self)
        errno = code == 0 ? nil : KernelErrno(rawValue: code == .min ? .max : abs(code))
        var text: String?
        if header.flags.contains(.acknowledgeAttributes) {
            // Without NLM_F_CAPPED the request's payload is echoed between the structure and the attributes.
            let echoed = Int(payload.loadUnaligned(fromByteOffset: Acknowledgement.errorSize, as: UInt32.self))
            let skipped = header.flags.contains(.capped) ? 0 : max(0, echoed - MessageHeader.size)
            text = Acknowledgement.text(in: payload, from: fixed + skipped)
        }
        extack = text
    }

    /// The NLMSGERR_ATTR_MSG among the attributes that begin at `offset`; nil if there is none.
    static func text(in payload: UnsafeRawBufferPointer, from offset: Int) -> String? {
        guard offset <= payload.count else { return nil }
        for attribute in AttributeReader(payload, from: offset) where attribute.type == Int(NLMSGERR_ATTR_MSG.rawValue)
        {
            return attribute.text
        }
        return nil
    }
}
