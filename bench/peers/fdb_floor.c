/*
 * The floor: C on libmnl, 64 messages per send, with an acknowledgement for the last (see peer.h).
 */
#include "peer.h"

#include <libmnl/libmnl.h>

enum { BATCH = 64 };

static char buffer[BATCH * 128];
static char reply[65536];
static unsigned int sequence = 1;
static struct mnl_socket *netlink;
static struct peer_entry *entries;
static size_t kept, room;

static void start(void) {
    int size = 1 << 20;
    netlink = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!netlink || mnl_socket_bind(netlink, 0, MNL_SOCKET_AUTOPID) < 0) peer_fail("socket");
    int on = 1;
    mnl_socket_setsockopt(netlink, NETLINK_CAP_ACK, &on, sizeof(on));
    mnl_socket_setsockopt(netlink, NETLINK_EXT_ACK, &on, sizeof(on));
    mnl_socket_setsockopt(netlink, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
    setsockopt(mnl_socket_get_fd(netlink), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
}

static struct nlmsghdr *put(char *at, uint16_t type, uint16_t flags, int port, uint32_t number) {
    struct nlmsghdr *header = mnl_nlmsg_put_header(at);
    header->nlmsg_type = type;
    header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    header->nlmsg_seq = sequence++;
    struct ndmsg *neighbour = mnl_nlmsg_put_extra_header(header, sizeof(*neighbour));
    neighbour->ndm_family = AF_BRIDGE;
    neighbour->ndm_ifindex = port;
    neighbour->ndm_state = type == RTM_NEWNEIGH ? NUD_NOARP : 0;
    neighbour->ndm_flags = NTF_MASTER;
    uint8_t mac[6];
    peer_mac(mac, number);
    mnl_attr_put(header, NDA_LLADDR, sizeof(mac), mac);
    return header;
}

static void change(uint16_t type, uint16_t flags, int port, uint32_t count) {
    for (uint32_t first = 0; first < count; first += BATCH) {
        uint32_t part = count - first < BATCH ? count - first : BATCH;
        char *at = buffer;
        struct nlmsghdr *last = NULL;
        for (uint32_t index = 0; index < part; index++) {
            last = put(at, type, flags, port, first + index);
            at += NLMSG_ALIGN(last->nlmsg_len);
        }
        last->nlmsg_flags |= NLM_F_ACK;
        if (mnl_socket_sendto(netlink, buffer, (size_t)(at - buffer)) < 0) peer_fail("send");
        ssize_t length = mnl_socket_recvfrom(netlink, reply, sizeof(reply));
        if (length < 0 ||
            mnl_cb_run(reply, (size_t)length, last->nlmsg_seq, mnl_socket_get_portid(netlink), NULL, NULL) < 0)
            peer_fail("change");
    }
}

static int attribute(const struct nlattr *attribute, void *data) {
    struct peer_entry *entry = data;
    switch (mnl_attr_get_type(attribute)) {
    case NDA_LLADDR:
        if (mnl_attr_get_payload_len(attribute) == 6) memcpy(entry->mac, mnl_attr_get_payload(attribute), 6);
        break;
    case NDA_VLAN: entry->vlan = mnl_attr_get_u16(attribute); break;
    case NDA_MASTER: entry->bridge = (int32_t)mnl_attr_get_u32(attribute); break;
    case NDA_FLAGS_EXT: entry->extended = mnl_attr_get_u32(attribute); break;
    case NDA_CACHEINFO: {
        const struct nda_cacheinfo *ages = mnl_attr_get_payload(attribute);
        if (mnl_attr_get_payload_len(attribute) >= sizeof(*ages)) {
            entry->used = ages->ndm_used;
            entry->updated = ages->ndm_updated;
        }
        break;
    }
    }
    return MNL_CB_OK;
}

static int message(const struct nlmsghdr *header, void *data) {
    const struct peer *peer = data;
    const struct ndmsg *neighbour = mnl_nlmsg_get_payload(header);
    struct peer_entry entry = {.port = neighbour->ndm_ifindex, .state = neighbour->ndm_state,
                               .flags = neighbour->ndm_flags};
    if (neighbour->ndm_family != AF_BRIDGE) return MNL_CB_OK;
    if (mnl_attr_parse(header, sizeof(*neighbour), attribute, &entry) < 0) return MNL_CB_ERROR;
    if (entry.bridge == peer->bridge && !(entry.flags & NTF_SELF) && !(entry.mac[0] & 1))
        peer_keep(&entries, &kept, &room, &entry);
    return MNL_CB_OK;
}

static void dump(const struct peer *peer) {
    struct nlmsghdr *header = mnl_nlmsg_put_header(buffer);
    header->nlmsg_type = RTM_GETNEIGH;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    header->nlmsg_seq = sequence++;
    struct ndmsg *neighbour = mnl_nlmsg_put_extra_header(header, sizeof(*neighbour));
    neighbour->ndm_family = AF_BRIDGE;
    mnl_attr_put_u32(header, NDA_MASTER, (uint32_t)peer->bridge);
    if (mnl_socket_sendto(netlink, header, header->nlmsg_len) < 0) peer_fail("send");
    free(entries);
    entries = NULL;
    kept = room = 0;
    int state;
    do {
        ssize_t length = mnl_socket_recvfrom(netlink, reply, sizeof(reply));
        if (length < 0) peer_fail("receive");
        state = mnl_cb_run(reply, (size_t)length, header->nlmsg_seq, mnl_socket_get_portid(netlink), message,
                           (void *)(uintptr_t)peer);
    } while (state > MNL_CB_STOP);
    if (state < 0) peer_fail("dump");
}

/** Counts the given addresses that the table has, by searching the table for each. */
static uint32_t seek(const struct peer_entry *table, size_t size, uint32_t count) {
    uint32_t found = 0;
    for (uint32_t index = 0; index < count; index++) {
        uint8_t mac[ETH_ALEN];
        peer_mac(mac, index);
        for (size_t place = 0; place < size; place++)
            if (memcmp(table[place].mac, mac, ETH_ALEN) == 0) {
                found++;
                break;
            }
    }
    return found;
}

static void find(const struct peer *peer, uint32_t count) {
    if (kept > count && seek(entries, kept, count) < count) peer_fail("seek");
    kept = 0;
    for (uint32_t first = 0; first < count; first += BATCH) {
        uint32_t part = count - first < BATCH ? count - first : BATCH;
        char *at = buffer;
        for (uint32_t index = 0; index < part; index++) {
            struct nlmsghdr *header = put(at, RTM_GETNEIGH, 0, 0, first + index);
            mnl_attr_put_u32(header, NDA_MASTER, (uint32_t)peer->bridge);
            at += NLMSG_ALIGN(header->nlmsg_len);
        }
        if (mnl_socket_sendto(netlink, buffer, (size_t)(at - buffer)) < 0) peer_fail("send");
        for (uint32_t index = 0; index < part; index++) {
            ssize_t length = mnl_socket_recvfrom(netlink, reply, sizeof(reply));
            if (length < 0 ||
                mnl_cb_run(reply, (size_t)length, 0, 0, message, (void *)(uintptr_t)peer) < 0)
                peer_fail("find");
        }
    }
}

static size_t run(const struct peer *peer, enum peer_work work, uint32_t count, int port) {
    switch (work) {
    case PEER_ADD: change(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_EXCL, port, count); return count;
    case PEER_MOVE: change(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, port, count); return count;
    case PEER_DELETE: change(RTM_DELNEIGH, 0, port, count); return count;
    case PEER_DUMP: dump(peer); return kept;
    case PEER_FIND: find(peer, count); return kept;
    }
    return 0;
}

int main(int argc, char **argv) { return peer_main(argc, argv, start, run); }
