"""The Python peer: pyroute2, one request and one acknowledgement an entry (see peer.h)."""

import socket
import sys
import time

from pyroute2 import IPRoute

NTF_MASTER = 4
NUD_NOARP = 0x40


def main():
    ports = [socket.if_nametoindex(name) for name in sys.argv[1:3]]
    bridge = socket.if_nametoindex(sys.argv[3])
    commands = {"add": "add", "move": "replace", "delete": "del"}
    with IPRoute() as netlink:
        for line in sys.stdin:
            work, count, port = line.split()
            count = int(count)
            begin = time.monotonic_ns()
            if work == "dump":
                done = len(list(netlink.fdb("dump", master=bridge)))
            else:
                done = count
                for number in range(count):
                    mac = "02:fd:" + ":".join(f"{octet:02x}" for octet in number.to_bytes(4, "big"))
                    netlink.neigh(
                        commands[work], family=socket.AF_BRIDGE, ifindex=ports[int(port)], lladdr=mac,
                        state=NUD_NOARP if work != "delete" else 0, flags=NTF_MASTER)
            print(time.monotonic_ns() - begin, done, flush=True)


main()
