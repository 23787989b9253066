/*
 * The common part of the peers in C: they read works from standard input, one per line, and answer each with a line.
 *
 *     PEER PORT_A PORT_B BRIDGE
 *     WORK COUNT PORT             add, move, delete: COUNT entries, with PORT 0 or 1
 *                                 dump: the table; find: COUNT single reads
 *     NANOSECONDS NUMBER          the time that the work took, and the number of entries involved
 *
 * The bench gives each peer its turns and its warm-up; a peer keeps its socket and its memory, as a daemon does.
 */
#ifndef FDBSTEER_PEER_H
#define FDBSTEER_PEER_H

#include <netinet/in.h>

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum peer_work { PEER_ADD, PEER_MOVE, PEER_DELETE, PEER_DUMP, PEER_FIND };

/** The fields of an entry that a peer reads and keeps. */
struct peer_entry {
    uint8_t mac[6];
    uint16_t vlan;
    uint16_t state;
    uint8_t flags;
    int32_t port;
    int32_t bridge;
    uint32_t extended;
    uint32_t used;
    uint32_t updated;
};

struct peer {
    int ports[2];
    int bridge;
};

static inline void peer_fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

/** The MAC of a number: 02:fd and the number's four octets. */
static inline void peer_mac(uint8_t mac[6], uint32_t number) {
    mac[0] = 0x02;
    mac[1] = 0xfd;
    mac[2] = (uint8_t)(number >> 24);
    mac[3] = (uint8_t)(number >> 16);
    mac[4] = (uint8_t)(number >> 8);
    mac[5] = (uint8_t)number;
}

/** Adds an entry to a list that grows as needed. */
static inline void peer_keep(struct peer_entry **list, size_t *count, size_t *room, const struct peer_entry *entry) {
    if (*count == *room) {
        *room = *room ? *room * 2 : 1024;
        *list = realloc(*list, *room * sizeof(**list));
        if (!*list) peer_fail("memory");
    }
    (*list)[(*count)++] = *entry;
}

/** Runs works until the end of input; `run` does one and returns the number of entries involved. */
static inline int peer_main(int argc, char **argv, void (*open)(void),
                            size_t (*run)(const struct peer *, enum peer_work, uint32_t count, int port)) {
    static const char *const names[] = {"add", "move", "delete", "dump", "find"};
    if (argc != 4) {
        fprintf(stderr, "usage: %s PORT_A PORT_B BRIDGE\n", argv[0]);
        return 64;
    }
    struct peer peer = {
        .ports = {(int)if_nametoindex(argv[1]), (int)if_nametoindex(argv[2])}, .bridge = (int)if_nametoindex(argv[3])};
    if (!peer.ports[0] || !peer.ports[1] || !peer.bridge) peer_fail("no such interface");
    open();
    char name[16];
    unsigned int count, port;
    while (scanf("%15s %u %u", name, &count, &port) == 3) {
        int work = 0;
        while (work < 5 && strcmp(names[work], name)) work++;
        if (work == 5 || port > 1) {
            fprintf(stderr, "%s: no such work\n", name);
            return 64;
        }
        struct timespec begin, end;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        size_t done = run(&peer, (enum peer_work)work, count, peer.ports[port]);
        clock_gettime(CLOCK_MONOTONIC, &end);
        printf("%lld %zu\n",
               (long long)(end.tv_sec - begin.tv_sec) * 1000000000 + (end.tv_nsec - begin.tv_nsec), done);
        fflush(stdout);
    }
    return 0;
}

#endif
