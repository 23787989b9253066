import Policy
import Switchdev
import TestSupport
import Testing

@testable import Controller

@Suite struct PortNameTests {
    @Test func portNames() throws {
        let links = Links([
            try link(3, "br", switched: false), try link(5, "eth5", switched: true, portName: "pf0vf0"),
            try link(6, "eth6", switched: true, portName: "pf0vf1"),
            try link(7, "eth7", switched: true, portName: "pf0vf1"),
            try link(8, "eth8", switched: true, portName: "pf0vf2", master: 4),
        ])
        let names = PortName(links: links, pci: PCIFunctions(root: "/nonexistent")) { Devlink() }
        #expect(try names.netdev("eth5", role: "primary", bridge: "br") == "eth5")
        #expect(try names.netdev("pf0vf0", role: "primary", bridge: "br") == "eth5")
        // Not a port of this bridge: the error about unknown interfaces covers it.
        #expect(try names.netdev("pf0vf2", role: "primary", bridge: "br") == "pf0vf2")
        for name in ["pf0vf1", "pci/0000:03:00.5", "pci/../../etc"] {
            #expect(throws: ControllerError.self) { try names.netdev(name, role: "primary", bridge: "br") }
        }
    }
}
