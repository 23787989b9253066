import CNetlink
import System

/// A synchronous netlink socket for requests.
///
/// rtnetlink runs a request inside sendmsg(2), in the caller, and queues the replies before sendmsg returns
/// (`netlink_rcv_skb` in net/netlink/af_netlink.c). An event loop would only add a hop. Extended acknowledgements, capped
/// acknowledgements and strict checking are on. Replies are matched by sequence number, and replies from other senders
/// than the kernel are dropped. Use the socket on one thread; it stays in the network namespace in which it was opened.
public struct CommandSocket: ~Copyable {
    /// The most messages in one send. RTNL is taken per message, so a longer batch gains nothing (1.25 against 1.32
    /// microseconds an entry at 64 and 4,000) and delays others that wait behind it.
    public static let batchLimit = 64
    /// The most that one queued reply takes of the receive buffer: 832 bytes of truesize without text, more with.
    private static let replyCost = 4096
    private static let sendBufferSize = 65536
    private static let receiveTimeout = 5

    private let socket: SocketDescriptor
    private let buffer = ReceiveBuffer()
    private var writer = MessageWriter(capacity: CommandSocket.sendBufferSize)
    private var sequence: UInt32
    /// The number of messages in one send: ``batchLimit``, or fewer if the receive buffer could not hold an error reply of
    /// the largest size for each.
    public let maximumBatch: Int
    private var packetFilters: PacketFilterSocket?

    /// Opens the socket in the calling thread's network namespace.
    ///
    /// - Parameters:
    ///   - protocol: which part of the kernel to talk to.
    ///   - receiveBuffer: the size of the receive buffer to ask for, in bytes.
    /// - Throws: ``NetlinkError`` of code `system`.
    public init(_ protocol: NetlinkProtocol = .route, receiveBuffer: Int32 = 1 << 20) throws(NetlinkError) {
        let socket = try SocketDescriptor(`protocol`, receiveBuffer: receiveBuffer)
        try socket.set(NETLINK_EXT_ACK, 1, named: "NETLINK_EXT_ACK")
        try socket.set(NETLINK_CAP_ACK, 1, named: "NETLINK_CAP_ACK")
        try socket.set(NETLINK_GET_STRICT_CHK, 1, named: "NETLINK_GET_STRICT_CHK")
        try socket.setReceiveTimeout(seconds: CommandSocket.receiveTimeout)
        maximumBatch = max(1, min(CommandSocket.batchLimit, socket.receiveBuffer / CommandSocket.replyCost))
        // The sequence does not start at 0, which is the sequence number of notifications.
        sequence = UInt32.random(in: 1...UInt32.max / 2)
        self.socket = socket
    }

    /// A reference to a socket, which lets one socket own another.
    private final class PacketFilterSocket {
        var socket: CommandSocket
        init() throws(NetlinkError) { socket = try CommandSocket(.netfilter) }
    }

    /// Calls `body` with a second socket, for packet filters, which is kept as long as this one.
    ///
    /// Closing such a socket waits until no CPU uses any table that is being removed: tenths of a second on a busy host
    /// (`nft_rcv_nl_event`, net/netfilter/nf_tables_api.c). A redirection must not wait that long.
    ///
    /// - Throws: ``NetlinkError`` if the socket cannot be opened, or what `body` throws.
    public mutating func withPacketFilters<Result>(
        _ body: (inout CommandSocket) throws(NetlinkError) -> Result
    ) throws(NetlinkError) -> Result {
        let held: PacketFilterSocket
        if let packetFilters { held = packetFilters } else { held = try PacketFilterSocket() }
        packetFilters = held
        return try body(&held.socket)
    }

    /// The socket's netlink port id.
    public var portID: UInt32 { socket.portID }

    /// Runs requests in order, up to ``maximumBatch`` in one send. A failing request does not stop those after it.
    ///
    /// Only the last request of a send asks for an acknowledgement. The kernel reports failures unasked, so a request without
    /// a reply has succeeded once the last one is acknowledged.
    ///
    /// - Returns: for each request nil, or why it failed. `refused`: the kernel refused it and changed nothing. `overrun`,
    ///   `timeout` or `malformed`: the answer was lost and the request may have been applied; read back. `system` or
    ///   `oversized`: it was not sent.
    /// - Complexity: two system calls for 64 requests that succeed.
    public mutating func perform<R: Request>(_ requests: some RandomAccessCollection<R>) -> [NetlinkError?] {
        perform(count: requests.count) { (index, writer, sequence) in
            writer.append(requests[requests.index(requests.startIndex, offsetBy: index)], sequence: sequence)
        }
    }

    /// Runs requests that `append` writes one by one, like ``perform(_:)-swift.method``. Hot paths that know the layout of
    /// their messages use it.
    ///
    /// - Parameters:
    ///   - total: the number of requests.
    ///   - append: writes the request at an index with a sequence number; returns false if it does not fit.
    /// - Complexity: allocates only the result.
    package mutating func perform(
        count total: Int, _ append: (Int, inout MessageWriter, UInt32) -> Bool
    ) -> [NetlinkError?] {
        var results = [NetlinkError?](repeating: nil, count: total)
        var next = 0
        while next < total {
            beginSend()
            let base = next
            let first = sequence
            let end = min(total, base + maximumBatch)
            var last = 0
            while next < end {
                let offset = writer.count
                guard append(next, &writer, sequence) else { break }
                sequence += 1
                last = offset
                next += 1
            }
            guard next > base else {
                results[next] = NetlinkError(
                    .oversized, "netlink request does not fit \(CommandSocket.sendBufferSize) bytes")
                next += 1
                continue
            }
            writer.insert(.acknowledge, at: last)
            exchangeBatch(from: first, count: next - base, into: &results, at: base)
        }
        return results
    }

    /// Runs one request and waits for its acknowledgement.
    ///
    /// - Throws: ``NetlinkError`` as ``perform(_:)-swift.method`` returns it.
    public mutating func perform(_ request: some Request) throws(NetlinkError) {
        if let error = perform(CollectionOfOne(request)).first ?? nil { throw error }
    }

    /// Reads single objects: each request is answered by one message or one error.
    ///
    /// - Parameters:
    ///   - requests: requests without NLM_F_DUMP.
    ///   - body: receives the request's index, and the reply's type and payload (valid during the call) or the error.
    /// - Throws: ``NetlinkError`` of codes `overrun`, `timeout`, `malformed`, `system`: replies were lost.
    public mutating func get<R: Request>(
        _ requests: [R],
        _ body: (Int, Result<(MessageType, UnsafeRawBufferPointer), NetlinkError>) throws(NetlinkError) -> Void
    ) throws(NetlinkError) {
        var answered = 0
        while answered < requests.count {
            beginSend()
            let first = sequence
            var count = 0
            while answered + count < requests.count, count < maximumBatch, append(requests[answered + count], flags: [])
            {
                count += 1
            }
            guard count > 0 else {
                throw NetlinkError(.oversized, "netlink request does not fit \(CommandSocket.sendBufferSize) bytes")
            }
            try send()
            var open = count
            while open > 0 {
                let base = answered
                try receive(from: first, count: count, most: open, room: R.replyLimit) {
                    (index, header, payload) throws(NetlinkError) in
                    open -= 1
                    guard header.type == .error else {
                        try body(base + index, .success((header.type, payload)))
                        return
                    }
                    let reply = try Acknowledgement(header: header, payload: payload)
                    try body(base + index, .failure(refusal(reply)))
                }
            }
            answered += count
        }
    }

    /// Reads a whole table.
    ///
    /// - Parameters:
    ///   - request: the dump's request; NLM_F_DUMP is added.
    ///   - body: receives each object's type, flags and payload, valid during the call.
    /// - Throws: ``NetlinkError``: `interrupted` if the kernel marked any part with NLM_F_DUMP_INTR, `truncated`, `refused`,
    ///   `overrun`, `malformed`, or what `body` throws. The dump is read to its end first, so the socket stays usable; the
    ///   caller must discard what `body` received.
    public mutating func dump(
        _ request: some Request,
        _ body: (MessageHeader, UnsafeRawBufferPointer) throws(NetlinkError) -> Void
    ) throws(NetlinkError) {
        beginSend()
        let first = sequence
        guard append(request, flags: .dump) else {
            throw NetlinkError(.oversized, "netlink dump request does not fit \(CommandSocket.sendBufferSize) bytes")
        }
        try send()
        var failure: NetlinkError?
        var finished = false
        while !finished {
            do {
                try receive(from: first, count: 1) { (_, header, payload) throws(NetlinkError) in
                    if header.flags.contains(.dumpInterrupted) {
                        failure = failure ?? NetlinkError(.interrupted, "the table changed while it was dumped")
                    }
                    if header.type == .done || header.type == .error {
                        finished = true
                        let end = try dumpEnd(header, payload)
                        failure = failure ?? end
                    } else if failure == nil {
                        try body(header, payload)
                    }
                }
            } catch {
                // After lost parts the kernel continues the dump: read on to its end, where that can be reached.
                failure = failure ?? error
                if error.code == .timeout || error.code == .system { finished = true }
            }
        }
        if let failure { throw failure }
    }

    /// Sends requests that the kernel carries out all together or not at all, as nftables does (nfnetlink's batches,
    /// `nfnetlink_rcv_batch` in net/netfilter/nfnetlink.c).
    ///
    /// - Parameters:
    ///   - requests: the first begins and the last ends the batch; kernels before 6.10 acknowledge neither.
    ///   - isTrial: the last request is one like the others. Without its end the kernel undoes the batch after it has tried each
    ///     request, and nobody sees any of it (`nft --check`).
    /// - Throws: ``NetlinkError`` of the first request that was refused. `refused`: nothing was changed. `overrun`, `timeout`
    ///   or `malformed`: the answer was lost; read back. `system` or `oversized`: nothing was sent.
    public mutating func performTogether<R: Request>(_ requests: [R], isTrial: Bool = false) throws(NetlinkError) {
        beginSend()
        let first = sequence
        let end = isTrial ? requests.count : requests.count - 1
        for (index, request) in requests.enumerated() {
            let isFrame = index == 0 || index == end
            guard append(request, flags: isFrame ? [] : .acknowledge) else {
                throw NetlinkError(.oversized, "netlink batch does not fit \(CommandSocket.sendBufferSize) bytes")
            }
        }
        try send()
        var open = Set(1..<max(1, end))
        var failure: NetlinkError?
        while !open.isEmpty {
            try receive(from: first, count: requests.count) { (index, header, payload) throws(NetlinkError) in
                guard header.type == .error else { return }
                let reply = try Acknowledgement(header: header, payload: payload)
                if reply.errno != nil { failure = failure ?? refusal(reply) }
                open.remove(index)
                // The kernel refused the batch as a whole: no other answer will come.
                if index == 0 { open = [] }
            }
        }
        if let failure { throw failure }
    }

    // MARK: - One send and its replies

    /// Sequence numbers must not wrap within a send, because 0 is the sequence number of notifications.
    private static let lastFirstSequence = UInt32.max - 65_536

    private mutating func beginSend() {
        writer.removeAll()
        if sequence > CommandSocket.lastFirstSequence { sequence = 1 }
    }

    private mutating func append(_ request: some Request, flags: MessageFlags) -> Bool {
        let fits = request.append(to: &writer, flags: flags, sequence: sequence)
        if fits { sequence += 1 }
        return fits
    }

    private func send() throws(NetlinkError) {
        let bytes = writer.bytes
        let sent = cn_send(socket.descriptor, bytes.baseAddress, bytes.count)
        guard sent == bytes.count else {
            throw NetlinkError(
                .system, "cannot send \(bytes.count) bytes to netlink",
                errno: KernelErrno(rawValue: Int32(-min(sent, 0))))
        }
    }

    /// Sends the written requests and stores their errors in `results` from `base` on.
    private func exchangeBatch(from first: UInt32, count: Int, into results: inout [NetlinkError?], at base: Int) {
        var acknowledged = false
        // One bit for each request: batchLimit is 64.
        var answered: UInt64 = 0
        do throws(NetlinkError) {
            try send()
            while !acknowledged {
                try receive(from: first, count: count) { (index, header, payload) throws(NetlinkError) in
                    guard header.type == .error else { return }
                    let reply = try Acknowledgement(header: header, payload: payload)
                    if reply.errno != nil { results[base + index] = refusal(reply) }
                    answered |= 1 << UInt64(index)
                    if index == count - 1 { acknowledged = true }
                }
            }
        } catch {
            for index in 0..<count where answered & 1 << UInt64(index) == 0 { results[base + index] = error }
        }
    }

    /// Receives one datagram, or up to `most` if none can exceed `room` bytes, and passes on the messages that answer this
    /// send. Messages with older sequence numbers are left over from earlier sends.
    private func receive(
        from first: UInt32,
        count: Int,
        most: Int = 1,
        room: Int? = nil,
        _ body: (Int, MessageHeader, UnsafeRawBufferPointer) throws(NetlinkError) -> Void
    ) throws(NetlinkError) {
        if most > 1, let room {
            let isAnswered = try socket.receive(into: buffer, most: most, room: room) {
                (datagram) throws(NetlinkError) in
                try handOver(datagram, from: first, count: count, body)
            }
            if isAnswered { return }
        } else if let datagram = try socket.receive(into: buffer) {
            return try handOver(datagram, from: first, count: count, body)
        }
        throw NetlinkError(.timeout, "the kernel did not answer within \(CommandSocket.receiveTimeout) s")
    }

    private func handOver(
        _ datagram: UnsafeRawBufferPointer, from first: UInt32, count: Int,
        _ body: (Int, MessageHeader, UnsafeRawBufferPointer) throws(NetlinkError) -> Void
    ) throws(NetlinkError) {
        var reader = MessageReader(datagram)
        while let (header, payload) = try reader.next() {
            let index = Int(header.sequence &- first)
            guard header.portID == portID, index < count else { continue }
            if header.type == .overrun {
                throw NetlinkError(.overrun, "the kernel reports lost netlink data (NLMSG_OVERRUN)")
            }
            if header.type == .noOperation { continue }
            try body(index, header, payload)
        }
    }

    private func refusal(_ reply: Acknowledgement) -> NetlinkError {
        NetlinkError(.refused, "the kernel refused the request", errno: reply.errno, extack: reply.extack)
    }

    /// The error that ends a dump: NLMSG_ERROR, or NLMSG_DONE with a negative number.
    private func dumpEnd(_ header: MessageHeader, _ payload: UnsafeRawBufferPointer) throws(NetlinkError)
        -> NetlinkError?
    {
        if header.type == .error {
            return refusal(try Acknowledgement(header: header, payload: payload))
        }
        guard payload.count >= 4 else { return nil }
        let code = payload.loadUnaligned(as: Int32.self)
        guard code < 0, code != .min else { return nil }
        return NetlinkError(
            .refused, "the kernel refused the dump", errno: KernelErrno(rawValue: -code),
            extack: Acknowledgement.text(in: payload, from: 4))
    }
}
