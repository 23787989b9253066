/// Domains as libvirt writes them for its hooks, in its spelling, shortened to the parts that matter for a running guest.
enum Domains {
    static let running = Array(
        """
        <domain type='kvm' id='3'>
          <name>vm1</name>
          <uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid>
          <metadata>
            <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1"><nova:name>x</nova:name></nova:instance>
          </metadata>
          <memory unit='KiB'>4194304</memory>
          <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><boot dev='hd'/></os>
          <devices>
            <emulator>/usr/bin/qemu-system-x86_64</emulator>
            <disk type='file' device='disk'>
              <source file='/var/lib/libvirt/images/vm1.qcow2'/>
              <target dev='vda' bus='virtio'/>
              <alias name='virtio-disk0'/>
            </disk>
            <interface type='bridge'>
              <mac address='52:54:00:11:22:33'/>
              <source bridge='br0'/>
              <target dev='vnet5'/>
              <model type='virtio'/>
              <teaming type='persistent'/>
              <link state='down'/>
              <alias name='ua-backup0'/>
              <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
            </interface>
            <interface type='hostdev' managed='yes'>
              <mac address='52:54:00:11:22:33'/>
              <driver name='vfio'/>
              <source>
                <address type='pci' domain='0x0000' bus='0x3b' slot='0x02' function='0x5'/>
              </source>
              <teaming type='transient' persistent='ua-backup0'/>
              <alias name='hostdev0'/>
              <address type='pci' domain='0x0000' bus='0x06' slot='0x00' function='0x0'/>
            </interface>
            <interface type='bridge'>
              <mac address='52:54:00:11:22:44'/>
              <source bridge='br1'/>
              <target dev='vnet6'/>
              <alias name='net2'/>
            </interface>
          </devices>
          <seclabel type='dynamic' model='dac' relabel='yes'/>
        </domain>
        """.utf8)

    /// A network of bridges, a VLAN, and a plain PCI device as the primary.
    static let network = Array(
        """
        <domain type='kvm' id='4'>
          <name>weiß &amp; blau</name>
          <uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa1</uuid>
          <devices>
            <interface type='network'>
              <mac address='52:54:00:11:22:55'/>
              <source network='prod' portid='f2a2c5c9-0a6c-4f4e-8a0e-6a1f0e4b7a11' bridge='br0'/>
              <vlan trunk='yes'><tag id='42'/><tag id='47' nativeMode='untagged'/></vlan>
              <target dev='vnet7'/>
              <teaming type='persistent'/>
              <alias name='ua-one'/>
            </interface>
            <hostdev mode='subsystem' type='pci' managed='yes'>
              <driver name='vfio'/>
              <source><address domain='0x0001' bus='0xaf' slot='0x1f' function='0x7'/></source>
              <teaming type='transient' persistent='ua-one'/>
              <alias name='hostdev0'/>
            </hostdev>
          </devices>
        </domain>
        """.utf8)

    /// Unsupported pairs: a macvtap, a VF from a pool, a primary without a standby.
    static let awkward = Array(
        """
        <domain type='kvm'>
          <name>vm2</name><uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa2</uuid>
          <devices>
            <interface type='direct'><mac address='52:54:00:11:22:66'/><source dev='eth0' mode='bridge'/>
              <target dev='macvtap0'/><teaming type='persistent'/><alias name='ua-a'/></interface>
            <interface type='hostdev'><mac address='52:54:00:11:22:66'/>
              <source><address type='pci' domain='0' bus='3' slot='0' function='2'/></source>
              <teaming type='transient' persistent='ua-a'/></interface>
            <interface type='bridge'><mac address='52:54:00:11:22:77'/><source bridge='br0'/><target dev='vnet8'/>
              <teaming type='persistent'/><alias name='ua-b'/></interface>
            <interface type='network'><mac address='52:54:00:11:22:77'/><source network='vfpool'/>
              <teaming type='transient' persistent='ua-b'/></interface>
            <interface type='hostdev'><mac address='52:54:00:11:22:88'/>
              <teaming type='transient' persistent='ua-none'/></interface>
          </devices>
        </domain>
        """.utf8)
}
