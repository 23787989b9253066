import Glibc

/// One QEMU with the bench's guest (bench/guest), on one host.
package final class GuestMachine {
    /// The configuration of the machine.
    package struct Shape: Sendable {
        /// The folder with the kernel and initramfs, as bench/guest/build prints it.
        package var image: String
        /// `kvm` or `tcg`.
        package var accelerator = "tcg"
        /// QEMU's model of the primary: `e1000e`, whose link comes up half a second after its driver opens it, or
        /// `vmxnet3`, whose link is up at once.
        package var primaryModel = "e1000e"
        /// The number of virtual CPUs.
        package var processors = 1
        /// The primary of a pair exists from the beginning: QEMU plugs it as soon as the guest can accept it.
        package var hasPrimary = true
        /// The machine waits for a guest from another host.
        package var isIncoming = false
        /// The guest that arrives stays stopped until `cont`.
        package var isHeld = false
        /// PCI devices are plugged and unplugged by the PCIe slot itself (attention button) instead of by ACPI.
        package var usesNativeHotplug = false
        /// The failover device has the address ``MigrationGuest/ip``, and a TCP port discards what it receives.
        package var hasSink = false

        /// - Parameter image: the folder with the kernel and initramfs.
        package init(image: String) { self.image = image }
    }

    /// The device id of the paravirtual NIC.
    package static let standbyDevice = "standby0"
    /// The device id of the VF.
    package static let primaryDevice = "primary0"

    /// The port of the TCP sink.
    package static let sinkPort: UInt16 = 5001

    /// The guest in the machine.
    package let guest: MigrationGuest
    /// The host of the machine.
    package let host: MigrationHosts.Host
    /// The monitor.
    package let session: QEMUSession
    /// The address at which a guest from another host arrives.
    package let incoming: String
    /// A second monitor, for the controller.
    package let controllerMonitor: String
    /// It has ``MigrationGuest/ip``, and answers ARP.
    package let answers: Bool
    private let primaryModel: String
    private let observerPath: String
    private let process: SupervisedProcess

    /// Starts QEMU.
    ///
    /// - Parameter folder: a separate folder for its sockets and its console.
    /// - Throws: ``LabError``.
    package init(_ shape: Shape, of guest: MigrationGuest, on host: MigrationHosts.Host, folder: String) throws {
        self.guest = guest
        self.host = host
        primaryModel = shape.primaryModel
        answers = shape.hasSink
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
    package func end() { process.end() }

    /// Connects to the guest's observer; the guest must be running.
    ///
    /// - Throws: ``LabError``.
    package func observer() throws -> GuestObserver { try GuestObserver(path: observerPath) }

    /// Waits until the guest uses its NICs, including the primary if it should have one. A primary is in use once it has a
    /// carrier, some tenths of a second after it was registered.
    ///
    /// - Parameter withPrimary: says nothing about a guest with one port.
    /// - Throws: ``LabError`` after three minutes: many guests that start at once share the processors.
    package func waitForGuest(withPrimary: Bool) throws {
        let observer = try observer()
        var status = ""
        for _ in 0..<600 {
            // The first answer arrives once the guest has opened the port.
            status = try observer.ask("status", timeout: 180_000)
            let lines = status.split(separator: "\n")
            let (last, slave) = guest.isPair ? ("primary", "slave 1") : ("standby", "slave 0")
            let isUsed = lines.contains { $0.hasPrefix(last) && $0.contains("flags 11043") && $0.hasSuffix(slave) }
            let isThere = lines.contains { $0.hasPrefix("primary") }
            let isAsAsked = withPrimary || !guest.isPair ? isUsed : !isThere
            if isAsAsked, lines.contains(where: { $0.hasPrefix("standby") }) { return }
            usleep(100_000)
        }
        throw LabError("\(guest.name) on host \(host.name) did not get its NICs: \(status)")
    }

    /// Plugs the primary.
    ///
    /// - Throws: ``LabError``.
    package func plugPrimary() throws {
        try session.execute(
            "device_add",
            """
            {"driver": "\(primaryModel)", "id": "\(GuestMachine.primaryDevice)", "netdev": "primary", \
            "mac": "\(guest.mac)", "failover_pair_id": "\(GuestMachine.standbyDevice)", \
            "bus": "slot1", "romfile": ""}
            """)
    }

    /// Asks the guest to give up the primary.
    ///
    /// - Throws: ``LabError``.
    package func unplugPrimary() throws {
        try session.execute("device_del", "{\"id\": \"\(GuestMachine.primaryDevice)\"}")
    }

    /// Makes the guest ignore requests to give up its primary.
    ///
    /// - Throws: ``LabError`` if that fails.
    package func refuseUnplug() throws {
        let answer = try observer().ask("refuse")
        if !answer.isEmpty { throw LabError("\(guest.name) cannot refuse: \(answer)") }
    }

    /// Lets a guest run that was held.
    ///
    /// - Throws: ``LabError``.
    package func go() throws { try session.execute("cont") }

    /// Sets the carrier of the paravirtual NIC.
    ///
    /// - Throws: ``LabError``.
    package func setStandbyLink(_ isUp: Bool) throws {
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
                + (shape.hasSink ? " fdbsteer.sink=\(guest.ip):\(sinkPort)" : ""),
            "-serial", "file:\(folder)/console",
            // The slots for standby and primary.
            "-device", "pcie-root-port,id=slot0,chassis=1,slot=1",
            "-device", "pcie-root-port,id=slot1,chassis=2,slot=2",
            "-device", "virtio-serial-pci", "-chardev", "socket,id=observer,path=\(observer),server=on,wait=off",
            "-device", "virtserialport,chardev=observer,name=observer",
        ]
        let failover = guest.isPair ? "on" : "off"
        arguments += tap("standby", guest.standby)
        arguments += [
            "-device",
            "virtio-net-pci,id=\(standbyDevice),netdev=standby,mac=\(mac),failover=\(failover),bus=slot0,romfile=",
        ]
        if guest.isPair { arguments += tap("primary", guest.primary) }
        if guest.isPair, shape.hasPrimary {
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
        if shape.isHeld { arguments.append("-S") }
        if shape.isIncoming { arguments += ["-incoming", "unix:\(incoming)"] }
        return arguments
    }
}
