import Glibc
import Lab

/// The state folder has no space left, and has space again.
enum ChaosFolders {
    static let family = ChaosFamily(weight: 3) { random in
        let steps = Int.random(in: 1...4, using: &random)
        return ChaosOperation(kind: "folder full", words: "folder full for \(steps) operations") { world in
            _ = try Command.run(["dd", "if=/dev/zero", "of=\(world.state)/filling", "bs=4k"])
            world.fullSteps = steps + 1
        }
    }

    /// A step has passed.
    static func age(_ world: ChaosWorld) {
        guard world.isFull else { return }
        world.fullSteps -= 1
        if !world.isFull { empty(world) }
    }

    /// It has space again.
    static func empty(_ world: ChaosWorld) {
        unlink(world.state + "/filling")
        world.fullSteps = 0
    }
}
