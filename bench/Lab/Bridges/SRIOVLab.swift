import Glibc
import System

/// The SR-IOV NIC of the lab VM (`scripts/lab-vm run --igb`): an emulated Intel 82576 with the real drivers.
///
/// `nic0` is the physical function, `peer0` stands for all other hosts on its wire, and `plain0` is a NIC without SR-IOV.
/// VFs have no driver until one is bound.
package struct SRIOVLab: Sendable {
    /// The driver for VFs.
    package static let driver = "igbvf"
    private static let pf = "/sys/class/net/nic0/device"

    /// The reason why this NIC does not exist here; nil if it does.
    package static var obstacle: String? {
        access("\(pf)/sriov_numvfs", W_OK) == 0
            ? nil : "there is no SR-IOV NIC nic0: it takes \"scripts/lab-vm run --igb\", with QEMU 8 or later"
    }

    /// Creates VFs and brings PF and peer up.
    ///
    /// - Parameter functions: the number of VFs.
    /// - Throws: ``LabError``.
    package init(functions: Int = 3) throws {
        try Command.script("busybox sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
        try TextFile.write("0", to: "\(SRIOVLab.pf)/sriov_drivers_autoprobe")
        if SystemFile.firstLine(of: "\(SRIOVLab.pf)/sriov_numvfs") != "\(functions)" {
            try TextFile.write("\(functions)", to: "\(SRIOVLab.pf)/sriov_numvfs")
            try Command.script("ip link set nic0 up")
            // A VF that no driver has ever reset accepts no untagged frames, whatever its MAC is (`igb_vf_reset` sets
            // VMOLR.AUPE).
            // These VFs should behave like ones that earlier guests have used.
            for vf in 0..<functions {
                try bind(vf)
                try unbind(vf)
                try Command.script("ip link set nic0 vf \(vf) mac 00:00:00:00:00:00")
            }
        }
        try Command.script("ip link set nic0 up\nip link set peer0 up")
        for name in ["nic0", "peer0"] { try SRIOVLab.waitForCarrier(name) }
    }

    /// The PCI address of a VF.
    package func address(_ vf: Int) -> String {
        SystemFile.linkName("\(SRIOVLab.pf)/virtfn\(vf)") ?? ""
    }

    /// Binds a VF to a driver, and returns its interface; empty for a driver that creates none.
    ///
    /// - Throws: ``LabError``.
    @discardableResult
    package func bind(_ vf: Int, to driver: String = SRIOVLab.driver) throws -> String {
        let device = "/sys/bus/pci/devices/\(address(vf))"
        try TextFile.write(driver, to: "\(device)/driver_override")
        try TextFile.write(address(vf), to: "/sys/bus/pci/drivers/\(driver)/bind")
        try TextFile.write("\n", to: "\(device)/driver_override")
        guard driver == SRIOVLab.driver else { return "" }
        return SystemFile.names(in: "\(device)/net").first ?? ""
    }

    /// Unbinds a VF from its driver.
    ///
    /// - Throws: ``LabError``.
    package func unbind(_ vf: Int) throws {
        try TextFile.write(address(vf), to: "/sys/bus/pci/devices/\(address(vf))/driver/unbind")
    }

    /// Makes the PF ignore the mailbox of a VF whose driver is bound and whose interface is down. It resets the VF behind the
    /// driver's back (CTRL.RST, the VF's first register), as happens when igb mistakes the driver's own reset for a later one.
    /// igbvf notices when the interface goes up, and resets the VF no earlier than 10 s after the previous reset.
    ///
    /// - Throws: ``LabError``.
    package func deafen(_ vf: Int) throws {
        let path = "/sys/bus/pci/devices/\(address(vf))/resource0"
        let file = open(path, O_RDWR | O_CLOEXEC)
        guard file >= 0 else { throw LabError("\(path): \(String(cString: strerror(errno)))") }
        defer { close(file) }
        guard let registers = mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0), registers != MAP_FAILED
        else {
            throw LabError("\(path): \(String(cString: strerror(errno)))")
        }
        defer { munmap(registers, 4096) }
        registers.storeBytes(of: 1 << 26, as: UInt32.self)
    }

    /// Brings an interface up and waits for its carrier.
    ///
    /// - Throws: ``LabError``.
    package static func bringUp(_ name: String) throws {
        try Command.script("ip link set \(name) up")
        try waitForCarrier(name)
    }

    /// Makes the bridge from the kernel's documentation (net_failover.rst): `br0` with the PF, and `tap0` for the guest's
    /// standby, with its reader on `tap0-far`.
    ///
    /// - Throws: ``LabError``.
    package func makeBridge() throws {
        try Command.script(
            """
            ip link add br0 type bridge vlan_default_pvid 0 mcast_snooping 0
            ip link add tap0 type veth peer name tap0-far
            ip link set nic0 master br0
            ip link set tap0 master br0
            ip link set br0 up
            ip link set tap0-far up
            ip link set tap0 up
            """)
        for port in ["nic0", "tap0"] {
            for _ in 0..<500 {
                let words = try Command.run(["bridge", "link", "show", "dev", port]).output
                if words.contains("state forwarding") { break }
                usleep(10_000)
            }
        }
    }

    /// Removes the bridge and the standby.
    package func removeBridge() {
        _ = try? Command.run(["ip", "link", "del", "br0"])
        _ = try? Command.run(["ip", "link", "del", "tap0"])
    }

    /// The state of the NIC that a probe or a redirection may change, as `ip`, `bridge` and sysfs show it.
    ///
    /// - Throws: ``LabError``.
    package func state(functions: Int = 3) throws -> String {
        try SRIOVLab.waitForOperationalStates()
        // The timers of a bridge change all the time.
        let words = try Command.run(["ip", "-d", "link"]).output.split(separator: " ")
        let lasting = words.indices.filter { index in
            !words[index].hasSuffix("_timer") && !(index > 0 && words[index - 1].hasSuffix("_timer"))
        }
        var parts = [
            lasting.map { words[$0] }.joined(separator: " "),
            try Command.run(["bridge", "fdb", "show", "dev", "nic0"]).output,
        ]
        for vf in 0..<functions {
            let device = "/sys/bus/pci/devices/\(address(vf))"
            parts.append(
                "vf \(vf): \(SystemFile.linkName("\(device)/driver") ?? "") "
                    + (SystemFile.firstLine(of: "\(device)/driver_override") ?? ""))
        }
        return parts.joined(separator: "\n")
    }

    /// A VF that the PF ignores works again after 10 to 12 s, because igbvf does not reset it earlier.
    static func waitForCarrier(_ name: String) throws {
        for _ in 0..<1500 {
            if SystemFile.firstLine(of: "/sys/class/net/\(name)/carrier") == "1" { return }
            usleep(10_000)
        }
        throw LabError("\(name) has no carrier after 15 s")
    }

    /// Waits until the operational state of every interface matches its carrier. The kernel (net/core/link_watch.c) sets the
    /// state afterwards, up to a second later if many carriers change.
    private static func waitForOperationalStates() throws {
        var late: [String] = []
        for _ in 0..<300 {
            late = SystemFile.names(in: "/sys/class/net").filter {
                let isUp = ["up", "unknown"].contains(SystemFile.firstLine(of: "/sys/class/net/\($0)/operstate"))
                return isUp != (SystemFile.firstLine(of: "/sys/class/net/\($0)/carrier") == "1")
            }
            if late.isEmpty { return }
            usleep(10_000)
        }
        throw LabError("the operational state of \(late.joined(separator: ", ")) does not follow the carrier")
    }
}
