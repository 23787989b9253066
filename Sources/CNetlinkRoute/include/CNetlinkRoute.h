/* libnl-3 and libnl-route-3: a second decoder of what this project reads and writes. Never on the hot path. */
#ifndef FDBSTEER_CNETLINKROUTE_H
#define FDBSTEER_CNETLINKROUTE_H

/* netinet/in.h goes first: linux/in6.h clashes with it otherwise. */
#include <netinet/in.h>

#include <linux/rtnetlink.h>
#include <netlink/cache.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>
#include <netlink/route/neighbour.h>

#endif
