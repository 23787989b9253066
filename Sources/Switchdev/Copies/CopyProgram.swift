import CNetlink
import FDB

/// The classic BPF program that decides which frames are copied.
///
/// One program serves all addresses of a guest, so copying starts and stops for all of them at once. It sees the VLAN tag
/// that a bridge port stores beside the frame. The classifier u32 reads only bytes of the frame, and the tag is not among
/// them until the driver takes it. flower sees the tag too, but not every kernel has it.
public struct CopyProgram: Hashable, Sendable {
    /// One instruction (`struct sock_filter`, linux/filter.h).
    public struct Instruction: Hashable, Sendable {
        /// The operation.
        public let code: UInt16
        /// The number of instructions to skip if a condition holds.
        public let jumpTrue: UInt8
        /// The number of instructions to skip if it does not.
        public let jumpFalse: UInt8
        /// The operand.
        public let operand: UInt32
    }

    /// The most instructions that the kernel accepts (`BPF_MAXINSNS`).
    public static let limit = 4096

    /// The instructions in order.
    public private(set) var instructions: [Instruction] = []
    /// Whether the kernel accepts the program: it is not too long, and no jump is too far.
    public var fits: Bool { instructions.count <= CopyProgram.limit && !hasFarJump }
    private var hasFarJump = false

    private static let copy = UInt32.max
    private static let ignore: UInt32 = 0

    /// - Parameter specification: what to copy.
    public init(_ specification: CopySpecification) {
        load(BPF_W, at: 2)
        for match in specification.matches.sorted(by: { $0.mac < $1.mac }) {
            // Between addresses the accumulator keeps the last four octets of the destination.
            let block = CopyProgram.build { block in
                block.load(BPF_H, at: 0)
                let rest = CopyProgram.build { $0.finish(CopyProgram.copy, with: match.tag) }
                block.jump(equal: UInt32(match.mac.value >> 32), otherwise: rest.count)
                block.instructions += rest
                block.load(BPF_W, at: 2)
            }
            jump(equal: UInt32(truncatingIfNeeded: match.mac.value), otherwise: block.count)
            instructions += block
        }
        if !specification.groups.isEmpty { appendGroups(specification) }
        finish(CopyProgram.ignore)
    }

    private init() {}

    /// Matches group frames, except those that the guest sent: the bridge floods these to its other port too.
    private mutating func appendGroups(_ specification: CopySpecification) {
        let isMulticast = Instruction(code: UInt16(BPF_JMP | BPF_JSET | BPF_K), jumpTrue: 1, jumpFalse: 0, operand: 1)
        load(BPF_B, at: 0)
        instructions.append(isMulticast)
        finish(CopyProgram.ignore)
        for mac in Set(specification.matches.map(\.mac)).sorted() {
            let block = CopyProgram.build { block in
                block.load(BPF_H, at: 6)
                block.jump(equal: UInt32(mac.value >> 32), otherwise: 1)
                block.finish(CopyProgram.ignore)
            }
            load(BPF_W, at: 8)
            jump(equal: UInt32(truncatingIfNeeded: mac.value), otherwise: block.count)
            instructions += block
        }
        let tagged = CopyProgram.build { block in
            var seen = Set<CopySpecification.Tag>()
            for match in specification.matches where seen.insert(match.tag).inserted {
                block.finish(CopyProgram.copy, with: match.tag)
            }
            block.finish(CopyProgram.ignore)
        }
        guard specification.groups != [.broadcast, .multicast] else {
            instructions += tagged
            return
        }
        let broadcast = specification.groups.contains(.broadcast)
        let untouched = CopyProgram.build { $0.finish(CopyProgram.ignore) }
        let (equal, unequal) = broadcast ? (tagged, untouched) : (untouched, tagged)
        load(BPF_W, at: 2)
        jump(equal: .max, otherwise: 2 + equal.count)
        load(BPF_H, at: 0)
        jump(equal: 0xffff, otherwise: equal.count)
        instructions += equal + unequal
    }

    // MARK: - Instructions

    private static func build(_ body: (inout CopyProgram) -> Void) -> [Instruction] {
        var program = CopyProgram()
        body(&program)
        return program.instructions
    }

    private mutating func append(_ code: Int32, _ operand: UInt32, otherwise: Int = 0) {
        if otherwise > Int(UInt8.max) { hasFarJump = true }
        instructions.append(
            Instruction(
                code: UInt16(code), jumpTrue: 0, jumpFalse: UInt8(clamping: otherwise), operand: operand))
    }

    private mutating func load(_ size: Int32, at offset: Int32) {
        append(BPF_LD | size | BPF_ABS, UInt32(bitPattern: offset))
    }

    private mutating func jump(equal operand: UInt32, otherwise: Int) {
        append(BPF_JMP | BPF_JEQ | BPF_K, operand, otherwise: otherwise)
    }

    /// Ends with a verdict.
    private mutating func finish(_ verdict: UInt32) { append(BPF_RET | BPF_K, verdict) }

    /// Ends with a verdict if the tag matches, and continues otherwise.
    private mutating func finish(_ verdict: UInt32, with tag: CopySpecification.Tag) {
        switch tag {
        case .any:
            finish(verdict)
        case .untagged:
            load(BPF_W, at: Int32(CN_SKF_AD_OFF) + SKF_AD_VLAN_TAG_PRESENT)
            jump(equal: 0, otherwise: 1)
            finish(verdict)
        case .vlan(let vlan):
            load(BPF_W, at: Int32(CN_SKF_AD_OFF) + SKF_AD_VLAN_TAG_PRESENT)
            jump(equal: 1, otherwise: 4)
            load(BPF_W, at: Int32(CN_SKF_AD_OFF) + SKF_AD_VLAN_TAG)
            append(BPF_ALU | BPF_AND | BPF_K, 0xfff)
            jump(equal: UInt32(vlan.rawValue), otherwise: 1)
            finish(verdict)
        }
    }

    /// The program as `tc` accepts it: the number of instructions, then each as four numbers.
    public var bytecode: String {
        ([String(instructions.count)]
            + instructions.map { "\($0.code) \($0.jumpTrue) \($0.jumpFalse) \($0.operand)" }).joined(separator: ",")
    }

    /// The program as the kernel accepts it: consecutive `struct sock_filter`.
    var bytes: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(instructions.count * 8)
        for instruction in instructions {
            withUnsafeBytes(of: instruction.code) { bytes += $0 }
            bytes += [instruction.jumpTrue, instruction.jumpFalse]
            withUnsafeBytes(of: instruction.operand) { bytes += $0 }
        }
        return bytes
    }
}
