import FDB
import JSON
import Netlink
import QMP
import Switchdev

/// libFuzzer's entry point: every decoder of kernel and QEMU messages, on arbitrary bytes. Built by scripts/fuzz.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOne(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    let bytes = UnsafeRawBufferPointer(start: data, count: size)
    var reader = MessageReader(bytes)
    while let (header, payload) = (try? reader.next()) ?? nil {
        decode(header, payload)
    }
    // Also without the framing, so inputs reach the decoders without guessing lengths.
    let header = MessageHeader(
        length: size + MessageHeader.size, type: .newNeighbour,
        flags: MessageFlags(rawValue: bytes.first.map { UInt16($0) << 8 } ?? 0), sequence: 1, portID: 0)
    decode(header, bytes)
    decodeMonitor(bytes)
    return 0
}

private func decode(_ header: MessageHeader, _ payload: UnsafeRawBufferPointer) {
    _ = try? Acknowledgement(header: header, payload: payload)
    if let change = (try? FDBMonitor.change(header, payload)) ?? nil { _ = change.entry.description }
    for type in [MessageType.newGroup, .deleteGroup] {
        let group = MessageHeader(length: header.length, type: type, flags: [], sequence: 0, portID: 0)
        for change in (try? GroupChange.changes(group, payload)) ?? [] {
            if case .entry(let entry) = change.subject { _ = entry.description }
        }
    }
    if let entry = (try? Entry(decoding: payload)) ?? nil { _ = entry.words }
    if let link = try? Link(decoding: payload) { _ = link.switchID?.description }
    if let filter = (try? TrafficFilter(decoding: payload)) ?? nil { _ = filter.copy }
    _ = AttributeReader(payload).reduce(0) { $0 + $1.text.count + $1.nested.reduce(0) { count, _ in count + 1 } }
}

private func decodeMonitor(_ bytes: UnsafeRawBufferPointer) {
    var lines = LineBuffer(limit: 256)
    lines.append(bytes) { line in
        guard let message = QMPMessage(line) else { return }
        if case .event(let event) = message { _ = (event.device, event.migrationStatus, event.time) }
        if case .reply(_, .success(let value)) = message { _ = RxFilter(value) }
    }
    if let value = JSON(bytes), JSON(text: value.description) == nil { fatalError("wrote what it cannot read") }
    if let (event, _) = QMPEvent.virsh(line: String(decoding: bytes, as: UTF8.self)) { _ = event.device }
}
