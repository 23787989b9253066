import FDB
import Testing

@Suite struct AddressTests {
    @Test(
        arguments: [
            ("52:54:00:12:34:56", "52:54:00:12:34:56"),
            ("52-54-00-AB-CD-EF", "52:54:00:ab:cd:ef"),
            ("00:00:00:00:00:01", "00:00:00:00:00:01"),
            ("52:54:00:12:34:56/1", "52:54:00:12:34:56/1"),
            ("52:54:00:12:34:56/4094", "52:54:00:12:34:56/4094"),
        ])
    func accepted(text: String, canonical: String) throws {
        #expect(try Address(text).description == canonical)
    }

    @Test(
        arguments: [
            ("", .malformed), ("52:54:00:12:34", .malformed), ("52:54:00:12:34:56:78", .malformed),
            ("52:54:00:12:34:5", .malformed), ("52:54:00:12:34:5g", .malformed), ("525400123456", .malformed),
            ("52:54:00:12:34:+6", .malformed), ("52:54:00:12:34:56 ", .malformed),
            ("01:00:5e:00:00:01", .multicast), ("33:33:00:00:00:01", .multicast),
            ("ff:ff:ff:ff:ff:ff", .broadcast), ("00:00:00:00:00:00", .zero),
            ("52:54:00:12:34:56/0", .vlan), ("52:54:00:12:34:56/4095", .vlan), ("52:54:00:12:34:56/", .vlan),
            ("52:54:00:12:34:56/x", .vlan), ("52:54:00:12:34:56/-1", .vlan), ("52:54:00:12:34:56/70000", .vlan),
            ("52:54:00:12:34:56/1/2", .vlan), ("00:00:00:00:00:00/5", .zero),
        ] as [(String, AddressError.Problem)])
    func refused(text: String, problem: AddressError.Problem) {
        #expect(throws: AddressError(text: text, problem: problem)) { try Address(text) }
    }

    @Test func errorsQuoteTheText() {
        #expect(AddressError(text: "nonsense", problem: .malformed).description.contains("\"nonsense\""))
    }
}
