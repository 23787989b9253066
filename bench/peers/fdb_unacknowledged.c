/*
 * The technique of routing daemons such as FRRouting's zebra, in C: as many messages as fit in 120 KiB per send, none with a
 * request for an acknowledgement, and a non-blocking socket that is read until it is empty; silence is success (see peer.h).
 */
#include "peer.h"

#include <libmnl/libmnl.h>

enum { LIMIT = 15 * 8192 };

static char buffer[LIMIT + 256];
static unsigned int sequence = 1;
static struct mnl_socket *netlink;

static void start(void) {
    int size = 1 << 20;
    netlink = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (!netlink || mnl_socket_bind(netlink, 0, MNL_SOCKET_AUTOPID) < 0) peer_fail("socket");
    setsockopt(mnl_socket_get_fd(netlink), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
    setsockopt(mnl_socket_get_fd(netlink), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
}

/** Two calls per reply: its size first, then the reply. */
static void drain(void) {
    static char reply[65536];
    int fd = mnl_socket_get_fd(netlink);
    while (1) {
        ssize_t length = recv(fd, NULL, 0, MSG_PEEK | MSG_TRUNC);
        if (length >= 0) length = recv(fd, reply, sizeof(reply), 0);
        if (length < 0) {
            if (errno == EAGAIN) return;
            peer_fail("receive");
        }
        if (mnl_cb_run(reply, (size_t)length, 0, 0, NULL, NULL) < 0) peer_fail("change");
    }
}

static size_t run(const struct peer *peer, enum peer_work work, uint32_t count, int port) {
    (void)peer;
    if (work > PEER_DELETE) return 0;
    char *at = buffer;
    for (uint32_t number = 0; number < count; number++) {
        struct nlmsghdr *header = mnl_nlmsg_put_header(at);
        header->nlmsg_type = work == PEER_DELETE ? RTM_DELNEIGH : RTM_NEWNEIGH;
        header->nlmsg_flags = NLM_F_REQUEST;
        if (work == PEER_ADD) header->nlmsg_flags |= NLM_F_CREATE | NLM_F_EXCL;
        if (work == PEER_MOVE) header->nlmsg_flags |= NLM_F_CREATE | NLM_F_REPLACE;
        header->nlmsg_seq = sequence++;
        struct ndmsg *neighbour = mnl_nlmsg_put_extra_header(header, sizeof(*neighbour));
        neighbour->ndm_family = AF_BRIDGE;
        neighbour->ndm_ifindex = port;
        neighbour->ndm_state = work == PEER_DELETE ? 0 : NUD_NOARP;
        neighbour->ndm_flags = NTF_MASTER;
        uint8_t mac[6];
        peer_mac(mac, number);
        mnl_attr_put(header, NDA_LLADDR, sizeof(mac), mac);
        at += NLMSG_ALIGN(header->nlmsg_len);
        if (at - buffer >= LIMIT || number + 1 == count) {
            if (mnl_socket_sendto(netlink, buffer, (size_t)(at - buffer)) < 0) peer_fail("send");
            drain();
            at = buffer;
        }
    }
    return count;
}

int main(int argc, char **argv) { return peer_main(argc, argv, start, run); }
