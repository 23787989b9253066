import Glibc
import Lab
import Switchdev
import Testing

@Suite struct BusMasteringTests {
    @Test func theBitIsReadEachTime() throws {
        let temporary = try TemporaryFolder()
        defer { temporary.remove() }
        let root = temporary.path
        let folder = root + "/0000:03:00.5"
        let path = folder + "/config"
        mkdir(folder, 0o700)
        func write(_ command: [UInt8]) {
            let file = open(path, O_WRONLY | O_CREAT, 0o600)
            _ = Glibc.write(file, [0x86, 0x80, 0xca, 0x10] + command, 4 + command.count)
            close(file)
        }
        write([0x02, 0x00])
        guard let function = BusMastering("0000:03:00.5", root: root) else {
            Issue.record("cannot be opened")
            return
        }
        func isOn() -> Bool { function.isOn }
        #expect(!isOn())
        write([0x06, 0x00])
        #expect(isOn())
        write([0x02, 0x04])
        #expect(!isOn())
        // A removed function reads as all ones.
        write([0xff, 0xff])
        #expect(!isOn())
        let exists = { (address: String) in
            if case .some = BusMastering(address, root: root) { true } else { false }
        }
        #expect(!exists("0000:03:00.6") && !exists("../0000:03:00.5") && !exists(""))
    }
}
