/* The shims are static inline in the header; a C target needs one source file. */
#define _GNU_SOURCE
#include "CLab.h"

/* Included here and not in the header: Swift sees glibc's own tcp_info, which is older. */
#include <linux/tcp.h>
#include <sys/time.h>

int clab_tcp_connect(const char *address, uint16_t port, uint64_t rate) {
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, address, &peer.sin_addr) != 1) return -EINVAL;
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return -errno;
    unsigned long limit = rate;
    struct timeval patience = {.tv_sec = 5};
    if ((rate && setsockopt(descriptor, SOL_SOCKET, SO_MAX_PACING_RATE, &limit, sizeof(limit)) < 0)
        || setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0
        || connect(descriptor, (struct sockaddr *)&peer, sizeof(peer)) < 0) {
        int failure = errno;
        close(descriptor);
        return -failure;
    }
    return descriptor;
}

int clab_tcp_progress(int descriptor, uint64_t *acknowledged, uint32_t *retransmitted) {
    struct tcp_info info = {0};
    socklen_t size = sizeof(info);
    if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) return -errno;
    *acknowledged = info.tcpi_bytes_acked;
    *retransmitted = info.tcpi_total_retrans;
    return 0;
}
