import Glibc
import Lab

/// Frames with a guest's address from where the guest is not, and its own.
enum ChaosFrames {
    static let family = ChaosFamily(weight: 8) { random in
        let number = random.guest()
        let count = random.one(of: [1, 2, 3, 20])
        let gap = random.one(of: [0, 1000, 10_000, 40_000])
        let place = random.one(of: ["neighbour", "uplink", "guest"])
        return ChaosOperation(
            kind: "frames \(place)", words: "frames of vm\(number): \(count) by the \(place), \(gap) us apart"
        ) { world in
            let guest = world.guests[number]
            let port =
                switch place {
                case "neighbour": world.neighbours[guest.bridge.number]
                case "uplink": guest.uplink
                default: guest.port(guest.place)
                }
            for _ in 0..<count {
                send(from: port, source: guest.addresses[0])
                usleep(UInt32(gap))
            }
        }
    }

    /// Sends a broadcast frame into a port from its far end; nothing when there is nobody behind it.
    static func send(from port: ChaosPort, source: String) {
        port.withFarEnd { sendFrame($0, to: "ff:ff:ff:ff:ff:ff", from: source, payload: []) }
    }

    /// Whether a frame to an address arrives at a far end, while the one that has the address sends a frame each tenth of a
    /// second. It waits a second at most.
    static func arrives(_ address: String, from source: ChaosPort, at place: ChaosPort) -> Bool {
        let payload = (0..<8).map { _ in UInt8.random(in: 0...255) }
        let destination = Interface.octets(address)
        for _ in 0..<10 {
            send(from: place, source: address)
            source.withFarEnd { sendFrame($0, to: address, from: ChaosWorld.peer, payload: payload) }
            var isThere = false
            place.withFarEnd { descriptor in
                var bytes = [UInt8](repeating: 0, count: 128)
                for _ in 0..<20 where !isThere {
                    var polled = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
                    poll(&polled, 1, 5)
                    while !isThere, recv(descriptor, &bytes, bytes.count, Int32(MSG_DONTWAIT)) > 0 {
                        isThere = Array(bytes[..<6]) == destination && Array(bytes[14..<22]) == payload
                    }
                }
            }
            if isThere { return true }
        }
        return false
    }

    private static func sendFrame(_ descriptor: Int32, to destination: String, from source: String, payload: [UInt8]) {
        let frame = Interface.octets(destination) + Interface.octets(source) + [0x88, 0xb6] + payload
        let padded = frame + [UInt8](repeating: 0, count: 60 - frame.count)
        _ = Glibc.send(descriptor, padded, padded.count, Int32(MSG_DONTWAIT))
    }
}
