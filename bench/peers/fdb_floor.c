/*
 * The floor: static bridge entries repointed by C on libmnl, 64 messages a send, acknowledgement on the last.
 *
 *     fdb_floor PORT_A PORT_B ENTRIES ROUNDS
 *
 * Makes ENTRIES entries on PORT_A, then repoints all of them ROUNDS times, to PORT_B and back; prints the microseconds
 * an entry of each round, one a line, and deletes them again. It runs in the network namespace it is started in.
 */
#include <netinet/in.h>

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 64 };

static char buffer[BATCH * 128];
static unsigned int sequence = 1;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static struct nlmsghdr *put(char *at, unsigned short type, unsigned short flags, int port, unsigned int number) {
    struct nlmsghdr *header = mnl_nlmsg_put_header(at);
    header->nlmsg_type = type;
    header->nlmsg_flags = (unsigned short)(NLM_F_REQUEST | flags);
    header->nlmsg_seq = sequence++;
    struct ndmsg *neighbour = mnl_nlmsg_put_extra_header(header, sizeof(*neighbour));
    neighbour->ndm_family = AF_BRIDGE;
    neighbour->ndm_ifindex = port;
    neighbour->ndm_state = type == RTM_NEWNEIGH ? NUD_NOARP : 0;
    neighbour->ndm_flags = NTF_MASTER;
    unsigned char mac[6] = {0x52, 0x54, 0, (unsigned char)(number >> 16), (unsigned char)(number >> 8),
                            (unsigned char)number};
    mnl_attr_put(header, NDA_LLADDR, sizeof(mac), mac);
    return header;
}

static void run(struct mnl_socket *socket, unsigned short type, unsigned short flags, int port, unsigned int entries) {
    static char reply[8192];
    for (unsigned int first = 0; first < entries; first += BATCH) {
        unsigned int count = entries - first < BATCH ? entries - first : BATCH;
        char *at = buffer;
        struct nlmsghdr *last = NULL;
        for (unsigned int index = 0; index < count; index++) {
            last = put(at, type, flags, port, first + index);
            at += NLMSG_ALIGN(last->nlmsg_len);
        }
        last->nlmsg_flags |= NLM_F_ACK;
        if (mnl_socket_sendto(socket, buffer, (size_t)(at - buffer)) < 0) {
            perror("fdb_floor: send");
            exit(1);
        }
        ssize_t length = mnl_socket_recvfrom(socket, reply, sizeof(reply));
        if (length < 0 || mnl_cb_run(reply, (size_t)length, last->nlmsg_seq, mnl_socket_get_portid(socket), NULL, NULL) < 0) {
            perror("fdb_floor: receive");
            exit(1);
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: fdb_floor PORT_A PORT_B ENTRIES ROUNDS\n");
        return 64;
    }
    int ports[2] = {(int)if_nametoindex(argv[1]), (int)if_nametoindex(argv[2])};
    unsigned int entries = (unsigned int)strtoul(argv[3], NULL, 10);
    int rounds = atoi(argv[4]);
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!ports[0] || !ports[1] || !entries || !socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        fprintf(stderr, "fdb_floor: no such port, no entries or no socket: %s\n", strerror(errno));
        return 1;
    }
    run(socket, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, ports[0], entries);
    for (int round = 1; round <= rounds; round++) {
        double begin = now();
        run(socket, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, ports[round % 2], entries);
        printf("%.4f\n", (now() - begin) / entries);
    }
    run(socket, RTM_DELNEIGH, 0, ports[rounds % 2], entries);
    mnl_socket_close(socket);
    return 0;
}
