// The Go peer: vishvananda/netlink on one handle, one request and one acknowledgement an entry (see peer.h).
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: fdb_go PORT_A PORT_B BRIDGE")
		os.Exit(64)
	}
	var indexes [3]int
	for index, name := range os.Args[1:] {
		device, err := net.InterfaceByName(name)
		fail(err)
		indexes[index] = device.Index
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	fail(err)
	output := bufio.NewWriter(os.Stdout)
	input := bufio.NewReader(os.Stdin)
	for {
		var work string
		var count, port int
		if _, err := fmt.Fscan(input, &work, &count, &port); err != nil {
			return
		}
		begin := time.Now()
		done := count
		if work == "dump" {
			list, err := handle.NeighListExecute(netlink.Ndmsg{Family: unix.AF_BRIDGE})
			fail(err)
			done = len(list)
		} else {
			for number := 0; number < count; number++ {
				mac := net.HardwareAddr{
					2, 0xfd, byte(number >> 24), byte(number >> 16), byte(number >> 8), byte(number)}
				entry := netlink.Neigh{
					LinkIndex: indexes[port], Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER, HardwareAddr: mac}
				switch work {
				case "add":
					entry.State = netlink.NUD_NOARP
					fail(handle.NeighAdd(&entry))
				case "move":
					entry.State = netlink.NUD_NOARP
					fail(handle.NeighSet(&entry))
				case "delete":
					fail(handle.NeighDel(&entry))
				}
			}
		}
		fmt.Fprintln(output, time.Since(begin).Nanoseconds(), done)
		output.Flush()
	}
}
