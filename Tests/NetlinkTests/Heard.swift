import FDB
import Glibc
import Synchronization

/// Addresses heard on another thread.
final class Heard: Sendable {
    private let addresses = Mutex<[Address]>([])

    func append(_ address: Address) { addresses.withLock { $0.append(address) } }
    var count: Int { addresses.withLock(\.count) }
    var all: [Address] { addresses.withLock { $0 } }
}

func usleepMilliseconds(_ milliseconds: UInt32) { usleep(milliseconds * 1000) }
