import CNetlink
public import Netlink

/// A device under devlink, as `devlink dev show` names it: `pci/0000:03:00.0`.
public struct DevlinkHandle: Hashable, Sendable, CustomStringConvertible {
    /// The bus (DEVLINK_ATTR_BUS_NAME): `pci`, `netdevsim`.
    public let bus: String
    /// The device on it (DEVLINK_ATTR_DEV_NAME): `0000:03:00.0`.
    public let device: String

    /// Makes a handle from its parts.
    public init(bus: String, device: String) {
        self.bus = bus
        self.device = device
    }

    public var description: String { "\(bus)/\(device)" }
}

/// The kind of a devlink device's port (`enum devlink_port_flavour`, linux/devlink.h).
public struct PortFlavour: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: UInt16

    /// - Parameter rawValue: the kernel's number.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// A port with a cable: an uplink. The corresponding C constant is `DEVLINK_PORT_FLAVOUR_PHYSICAL`.
    public static let physical = PortFlavour(rawValue: UInt16(DEVLINK_PORT_FLAVOUR_PHYSICAL.rawValue))
    /// The representor of a physical function. The corresponding C constant is `DEVLINK_PORT_FLAVOUR_PCI_PF`.
    public static let pciPF = PortFlavour(rawValue: UInt16(DEVLINK_PORT_FLAVOUR_PCI_PF.rawValue))
    /// The representor of a virtual function. The corresponding C constant is `DEVLINK_PORT_FLAVOUR_PCI_VF`.
    public static let pciVF = PortFlavour(rawValue: UInt16(DEVLINK_PORT_FLAVOUR_PCI_VF.rawValue))
    /// The representor of a subfunction. The corresponding C constant is `DEVLINK_PORT_FLAVOUR_PCI_SF`.
    public static let pciSF = PortFlavour(rawValue: UInt16(DEVLINK_PORT_FLAVOUR_PCI_SF.rawValue))

    /// The word that `devlink port show` prints.
    public var description: String {
        switch self {
        case .physical: "physical"
        case .pciPF: "pcipf"
        case .pciVF: "pcivf"
        case .pciSF: "pcisf"
        default: "flavour \(rawValue)"
        }
    }
}

/// A port of an eswitch or of a switch ASIC, as devlink reports it (DEVLINK_CMD_PORT_GET).
public struct DevlinkPort: Hashable, Sendable {
    /// The device that it belongs to. On a dual-port card each port's function is a separate device, though both report the
    /// same phys_switch_id.
    public let handle: DevlinkHandle
    /// The port's number on the device.
    public let index: UInt32
    /// The kind of the port.
    public let flavour: PortFlavour
    /// Interface index of its netdev; nil if it has none, or one in another namespace.
    public let interface: Int32?
    /// The port as `devlink port show` names it: `pci/0000:03:00.0/2`.
    public var path: String { "\(handle)/\(index)" }
    /// The number on the case, for physical ports.
    public let number: UInt32?
    /// The controller that owns the function: 0 is this host.
    public let controller: UInt32?
    /// The physical function's number.
    public let pf: UInt16?
    /// The virtual function's number.
    public let vf: UInt16?
    /// The subfunction's number.
    public let sf: UInt32?
    /// The function belongs to another host, as seen on a SmartNIC.
    public let isExternal: Bool

    /// Decodes the attributes of a DEVLINK_CMD_NEW_PORT message.
    ///
    /// - Parameter payload: the message from `struct genlmsghdr` on.
    /// - Returns: nil if the device or the port's number is missing.
    /// - Throws: ``NetlinkError`` of code `malformed` for bytes that no kernel sends.
    public init?(decoding payload: UnsafeRawBufferPointer) throws(NetlinkError) {
        var bus: String?
        var device: String?
        var index: UInt32?
        var flavour = PortFlavour.physical
        var interface: Int32?
        var number: UInt32?
        var controller: UInt32?
        var pf: UInt16?
        var vf: UInt16?
        var sf: UInt32?
        var external = false
        var attributes = AttributeReader(payload, from: GenericRequest.headerSize)
        while let attribute = attributes.next() {
            switch UInt32(attribute.type) {
            case DEVLINK_ATTR_BUS_NAME.rawValue: bus = attribute.text
            case DEVLINK_ATTR_DEV_NAME.rawValue: device = attribute.text
            case DEVLINK_ATTR_PORT_INDEX.rawValue: index = attribute.integer()
            case DEVLINK_ATTR_PORT_FLAVOUR.rawValue: flavour = PortFlavour(rawValue: attribute.integer() ?? 0)
            case DEVLINK_ATTR_PORT_NETDEV_IFINDEX.rawValue: interface = attribute.integer()
            case DEVLINK_ATTR_PORT_NUMBER.rawValue: number = attribute.integer()
            case DEVLINK_ATTR_PORT_CONTROLLER_NUMBER.rawValue: controller = attribute.integer()
            case DEVLINK_ATTR_PORT_PCI_PF_NUMBER.rawValue: pf = attribute.integer()
            case DEVLINK_ATTR_PORT_PCI_VF_NUMBER.rawValue: vf = attribute.integer()
            case DEVLINK_ATTR_PORT_PCI_SF_NUMBER.rawValue: sf = attribute.integer()
            case DEVLINK_ATTR_PORT_EXTERNAL.rawValue: external = attribute.integer(as: UInt8.self) ?? 0 != 0
            default: break
            }
        }
        if attributes.isMalformed {
            throw NetlinkError(.malformed, "devlink port message with an attribute that does not fit")
        }
        guard let bus, let device, let index else { return nil }
        self.init(
            handle: DevlinkHandle(bus: bus, device: device), index: index, flavour: flavour, interface: interface,
            number: number, controller: controller, pf: pf, vf: vf, sf: sf, isExternal: external)
    }

    /// Makes a port from its parts.
    public init(
        handle: DevlinkHandle, index: UInt32, flavour: PortFlavour, interface: Int32?, number: UInt32? = nil,
        controller: UInt32? = nil, pf: UInt16? = nil, vf: UInt16? = nil, sf: UInt32? = nil, isExternal: Bool = false
    ) {
        self.handle = handle
        self.index = index
        self.flavour = flavour
        self.interface = interface
        self.number = number
        self.controller = controller
        self.pf = pf
        self.vf = vf
        self.sf = sf
        self.isExternal = isExternal
    }
}
