import FDB
import Policy
import Testing

@Suite struct AnnouncementRequestTests {
    @Test(arguments: [
        "", "192.0.2", "224.0.0.1", "::", "ff02::1", "0.0.0.0", "192.0.2.7=", "192.0.2.7=52:54", "x=52:54:00:00:00:01",
    ])
    func refuses(text: String) {
        let error = #expect(throws: ControllerError.self) { try AnnouncementRequest.Owned(text) }
        #expect(error?.code == .usage)
    }

    @Test func ownersAreRead() throws {
        let owned = try AnnouncementRequest.Owned("2001:db8::7=52:54:00:00:00:01/7")
        #expect(owned.ip.description == "2001:db8::7" && owned.address?.description == "52:54:00:00:00:01/7")
        #expect(try AnnouncementRequest.Owned("192.0.2.7").address == nil)
    }
}
