/*
 * libnl-route: one neighbour object, one request and one acknowledgement per entry, and its cache for the table (see peer.h).
 */
#include "peer.h"

#include <netlink/cache.h>
#include <netlink/netlink.h>
#include <netlink/route/neighbour.h>

static struct nl_sock *netlink;

static void check(int result, const char *what) {
    if (result >= 0) return;
    fprintf(stderr, "%s: %s\n", what, nl_geterror(result));
    exit(1);
}

static void start(void) {
    netlink = nl_socket_alloc();
    if (!netlink) peer_fail("memory");
    check(nl_connect(netlink, NETLINK_ROUTE), "socket");
    check(nl_socket_set_buffer_size(netlink, 1 << 20, 0), "buffer");
}

static void change(enum peer_work work, uint32_t number, int port) {
    uint8_t mac[6];
    peer_mac(mac, number);
    struct rtnl_neigh *neighbour = rtnl_neigh_alloc();
    struct nl_addr *address = nl_addr_build(AF_LLC, mac, sizeof(mac));
    if (!neighbour || !address) peer_fail("memory");
    rtnl_neigh_set_family(neighbour, AF_BRIDGE);
    rtnl_neigh_set_ifindex(neighbour, port);
    rtnl_neigh_set_lladdr(neighbour, address);
    rtnl_neigh_set_flags(neighbour, NTF_MASTER);
    if (work != PEER_DELETE) rtnl_neigh_set_state(neighbour, NUD_NOARP);
    switch (work) {
    case PEER_ADD: check(rtnl_neigh_add(netlink, neighbour, NLM_F_CREATE | NLM_F_EXCL), "add"); break;
    case PEER_MOVE: check(rtnl_neigh_add(netlink, neighbour, NLM_F_CREATE | NLM_F_REPLACE), "move"); break;
    default: check(rtnl_neigh_delete(netlink, neighbour, 0), "delete"); break;
    }
    nl_addr_put(address);
    rtnl_neigh_put(neighbour);
}

static size_t dump(void) {
    struct nl_cache *cache;
    check(nl_cache_alloc_name("route/neigh", &cache), "cache");
    nl_cache_set_arg1(cache, AF_BRIDGE);
    check(nl_cache_refill(netlink, cache), "dump");
    size_t count = (size_t)nl_cache_nitems(cache);
    nl_cache_free(cache);
    return count;
}

static size_t run(const struct peer *peer, enum peer_work work, uint32_t count, int port) {
    (void)peer;
    if (work == PEER_DUMP) return dump();
    if (work == PEER_FIND) return 0;
    for (uint32_t number = 0; number < count; number++) change(work, number, port);
    return count;
}

int main(int argc, char **argv) { return peer_main(argc, argv, start, run); }
