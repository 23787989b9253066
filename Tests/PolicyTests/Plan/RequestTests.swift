import Policy
import FDB
import Testing

@Suite struct RequestTests {
    @Test(arguments: ["vm1", "a", "0b_c.d:e-f", String(repeating: "x", count: 64)])
    func usableNames(name: String) throws {
        #expect(try GuestID(name).text == name)
    }

    @Test(arguments: ["", "-vm", ".vm", "vm 1", "vm/1", "vm\n", "é", String(repeating: "x", count: 65)])
    func unusableNames(name: String) {
        let error = #expect(throws: ControllerError.self) { try GuestID(name) }
        #expect(error?.code == .usage)
    }

    @Test func contradictingArguments() throws {
        let address = try Address("52:54:00:00:00:01")
        func request(
            primary: String = "p", standby: String = "s", uplink: String? = nil, addresses: [Address]? = nil,
            side: Side? = nil
        ) throws -> PreparationRequest {
            try PreparationRequest(
                id: GuestID("vm"), bridge: "br", primary: primary, standby: standby, uplink: uplink,
                addresses: addresses ?? [address], side: side)
        }
        #expect(try request().addresses == [address])
        let wrong: [() throws -> PreparationRequest] = [
            { try request(standby: "p") }, { try request(uplink: "p") }, { try request(uplink: "s") },
            { try request(primary: "br") },
            { try request(uplink: "br") }, { try request(addresses: []) },
            { try request(addresses: [address, address]) }, { try request(side: .remote) },
        ]
        for make in wrong {
            let error = #expect(throws: ControllerError.self) { try make() }
            #expect(error?.code == .usage)
            #expect(error?.remedy != nil)
        }
    }
}
