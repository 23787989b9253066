import Policy
import Testing

@Suite struct SignalTests {
    @Test(arguments: [
        ("qmp:/run/vm1.qmp:MIGRATION=active", Signal.qmp(socket: "/run/vm1.qmp", event: "MIGRATION", value: "active")),
        ("qmp:/run/a:b:STOP", .qmp(socket: "/run/a:b", event: "STOP", value: nil)),
        ("carrier:primary=down", .carrier(port: "primary", isUp: false)),
        ("carrier:odd=name=up", .carrier(port: "odd=name", isUp: true)),
        ("bus-master:0000:03:00.5=on", .busMaster(device: "0000:03:00.5", isOn: true)),
        ("frame:vf0", .frame(port: "vf0")), ("command:/usr/bin/true", .command(path: "/usr/bin/true")), ("word", .word),
    ])
    func readsAndWrites(text: String, signal: Signal) throws {
        #expect(try Signal(text) == signal)
        #expect(signal.description == text)
    }

    @Test(arguments: [
        "", "word:", "words", "qmp", "qmp:", "qmp:STOP", "qmp:/run/x:", "qmp::STOP", "qmp:/run/x:stop", "qmp:/run/x:=a",
        "carrier:p",
        "carrier:p=maybe", "carrier:=up", "bus-master:0000:03:00.5=up", "frame", "frame:", "command:", "signal:x",
    ])
    func refuses(text: String) {
        let error = #expect(throws: ControllerError.self) { try Signal(text) }
        #expect(error?.code == .usage && error?.message.contains("\"\(text)\"") == true)
    }
}
