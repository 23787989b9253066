import Glibc

/// One QEMU with the bench's guest (bench/guest), on one host.
public final class GuestMachine {
    /// What it is made of.
    public struct Shape: Sendable {
        /// The folder of kernel and initramfs, as bench/guest/build prints it.
        public var image: String
        /// `kvm` or `tcg`.
        public var accelerator = "tcg"
        /// QEMU's model of the primary: `e1000e`, whose link comes up half a second after its driver opens it, or
        /// `vmxnet3`, whose link is there at once.
        public var primaryModel = "e1000e"
        /// Virtual CPUs.
        public var processors = 1
        /// The primary is there from the beginning: QEMU plugs it as soon as the guest can take it.
        public var hasPrimary = true
        /// It waits for a guest from another host.
        public var isIncoming = false
        /// PCI devices are plugged and unplugged by the PCIe slot itself (attention button) instead of by ACPI.
        public var usesNativeHotplug = false
        /// The failover device has the address ``MigrationHosts/guestIP``, and a TCP port takes what comes.
        public var hasSink = false

        /// - Parameter image: the folder of kernel and initramfs.
        public init(image: String) { self.image = image }
    }

    /// The device of the paravirtual NIC.
    public static let standbyDevice = "standby0"
    /// The device of the VF.
    public static let primaryDevice = "primary0"

    /// The port of the TCP sink.
    public static let sinkPort: UInt16 = 5001

    /// Which guest it is.
    public let guest: MigrationGuest
    /// The host that it is on.
    public let host: MigrationHosts.Host
    /// The monitor.
    public let session: QEMUSession
    /// Where a guest from another host arrives.
    public let incoming: String
    /// A second monitor, for the controller.
    public let controllerMonitor: String
    private let primaryModel: String
    private let observerPath: String
    private let process: SupervisedProcess

    /// Starts it.
    ///
    /// - Parameter folder: for its sockets and its console; a folder of its own.
    /// - Throws: ``LabError``.
    public init(_ shape: Shape, of guest: MigrationGuest, on host: MigrationHosts.Host, folder: String) throws {
        self.guest = guest
        self.host = host
        primaryModel = shape.primaryModel
        let monitor = folder + "/qmp"
        controllerMonitor = folder + "/qmp-controller"
        incoming = folder + "/incoming"
        observerPath = folder + "/observer"
        let arguments = GuestMachine.arguments(
            shape, guest: guest, folder: folder, monitors: [monitor, controllerMonitor], incoming: incoming,
            observer: observerPath)
        process = try host.namespace.run { try SupervisedProcess(arguments, output: folder + "/qemu") }
        do {
            session = try QEMUSession(path: monitor, host: host.name)
            try session.execute(
                "migrate-set-capabilities", "{\"capabilities\": [{\"capability\": \"events\", \"state\": true}]}")
        } catch {
            process.end()
            throw LabError("\(error): \(TextFile.read(folder + "/qemu"))")
        }
    }

    /// Ends QEMU.
    public func end() { process.end() }

    /// Asks the guest's observer; the guest has to run.
    ///
    /// - Throws: ``LabError``.
    public func observer() throws -> GuestObserver { try GuestObserver(path: observerPath) }

    /// Waits until the guest uses its NICs, the primary too if it is to have one: a primary is in use once it has a
    /// carrier, some tenths of a second after it was registered.
    ///
    /// - Throws: ``LabError`` after three minutes: many guests that start at once share the processors.
    public func waitForGuest(withPrimary: Bool) throws {
        let observer = try observer()
        var status = ""
        for _ in 0..<600 {
            // The first answer comes once the guest has opened the port.
            status = try observer.ask("status", timeout: 180_000)
            let lines = status.split(separator: "\n")
            let isUsed = lines.contains { $0.hasPrefix("primary") && $0.contains("flags 11043") && $0.hasSuffix("1") }
            let isThere = lines.contains { $0.hasPrefix("primary") }
            if lines.contains(where: { $0.hasPrefix("standby") }), withPrimary ? isUsed : !isThere { return }
            usleep(100_000)
        }
        throw LabError("\(guest.name) on host \(host.name) did not get its NICs: \(status)")
    }

    /// Plugs the primary.
    ///
    /// - Throws: ``LabError``.
    public func plugPrimary() throws {
        try session.execute(
            "device_add",
            """
            {"driver": "\(primaryModel)", "id": "\(GuestMachine.primaryDevice)", "netdev": "primary", \
            "mac": "\(guest.mac)", "failover_pair_id": "\(GuestMachine.standbyDevice)", \
            "bus": "slot1", "romfile": ""}
            """)
    }

    /// Asks the guest to let go of the primary.
    ///
    /// - Throws: ``LabError``.
    public func unplugPrimary() throws {
        try session.execute("device_del", "{\"id\": \"\(GuestMachine.primaryDevice)\"}")
    }

    /// From now on the guest does not answer when it is asked for its primary.
    ///
    /// - Throws: ``LabError`` when it cannot.
    public func refuseUnplug() throws {
        let answer = try observer().ask("refuse")
        if !answer.isEmpty { throw LabError("\(guest.name) cannot refuse: \(answer)") }
    }

    /// Sets the carrier of the paravirtual NIC.
    ///
    /// - Throws: ``LabError``.
    public func setStandbyLink(_ isUp: Bool) throws {
        try session.execute("set_link", "{\"name\": \"\(GuestMachine.standbyDevice)\", \"up\": \(isUp)}")
    }

    private static func arguments(
        _ shape: Shape, guest: MigrationGuest, folder: String, monitors: [String], incoming: String, observer: String
    ) -> [String] {
        let mac = guest.mac
        func tap(_ id: String, _ interface: String) -> [String] {
            ["-netdev", "tap,id=\(id),ifname=\(interface),script=no,downscript=no"]
        }
        var arguments = [
            "qemu-system-x86_64", "-M", "q35", "-accel", shape.accelerator, "-cpu", "max", "-m", "256",
            "-smp", "\(shape.processors)", "-nodefaults", "-no-user-config", "-display", "none",
            "-kernel", shape.image + "/vmlinuz", "-initrd", shape.image + "/initramfs.gz",
            "-append",
            "console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0 ipv6.disable=1"
                + (shape.hasSink ? " fdbsteer.sink=\(MigrationHosts.guestIP):\(sinkPort)" : ""),
            "-serial", "file:\(folder)/console",
            // The slots of standby and primary.
            "-device", "pcie-root-port,id=slot0,chassis=1,slot=1",
            "-device", "pcie-root-port,id=slot1,chassis=2,slot=2",
            "-device", "virtio-serial-pci", "-chardev", "socket,id=observer,path=\(observer),server=on,wait=off",
            "-device", "virtserialport,chardev=observer,name=observer",
        ]
        arguments += tap("standby", guest.standby) + tap("primary", guest.primary)
        arguments += [
            "-device",
            "virtio-net-pci,id=\(standbyDevice),netdev=standby,mac=\(mac),failover=on,bus=slot0,romfile=",
        ]
        if shape.hasPrimary {
            arguments += [
                "-device",
                "\(shape.primaryModel),id=\(primaryDevice),netdev=primary,mac=\(mac),"
                    + "failover_pair_id=\(standbyDevice),bus=slot1,romfile=",
            ]
        }
        if shape.usesNativeHotplug {
            arguments += ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]
        }
        for monitor in monitors { arguments += ["-qmp", "unix:\(monitor),server=on,wait=off"] }
        if shape.isIncoming { arguments += ["-incoming", "unix:\(incoming)"] }
        return arguments
    }
}
