/*
 * System calls of the lab and the loss meter that Swift cannot reach: namespaces, packet sockets with kernel time
 * stamps, scheduling. Shims only.
 */
#ifndef FDBSTEER_CLAB_H
#define FDBSTEER_CLAB_H

/* netinet/in.h must come first, because linux/in6.h conflicts with it otherwise. */
#include <netinet/in.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CLAB_BATCH = 64, CLAB_FRAME = 64 };

/* Hidden without _GNU_SOURCE, which a header cannot define early enough. The values are ABI. */
#define CLAB_NEWNS 0x00020000
#define CLAB_NEWNET 0x40000000

/** unshare(2): namespaces of the calling thread; 0 or -errno. */
static inline int clab_unshare(int flags) { return syscall(SYS_unshare, flags) < 0 ? -errno : 0; }

/** setns(2): puts the calling thread into a network namespace; 0 or -errno. */
static inline int clab_enter(int namespace) { return syscall(SYS_setns, namespace, CLAB_NEWNET) < 0 ? -errno : 0; }

/** pipe2(2) with close-on-exec ends; 0 or -errno. */
static inline int clab_pipe(int *ends) { return syscall(SYS_pipe2, ends, O_CLOEXEC) < 0 ? -errno : 0; }

/** A TCP client (IPv4) that sends at most `rate` bytes a second, 0 for no limit; descriptor or -errno. */
int clab_tcp_connect(const char *address, uint16_t port, uint64_t rate);

/** Bytes that a TCP socket's peer has acknowledged, and segments retransmitted; 0 or -errno. */
int clab_tcp_progress(int descriptor, uint64_t *acknowledged, uint32_t *retransmitted);

/** A client of a Unix stream socket; descriptor or -errno. */
static inline int clab_connect(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

/** Runs the calling thread on one CPU; 0 or -errno. */
static inline int clab_pin(int cpu) {
    unsigned long mask[16] = {0};
    if (cpu < 0 || cpu >= (int)(sizeof(mask) * 8)) return -EINVAL;
    mask[cpu / (8 * sizeof(long))] = 1ul << (cpu % (8 * sizeof(long)));
    return syscall(SYS_sched_setaffinity, 0, sizeof(mask), mask) < 0 ? -errno : 0;
}

/** SCHED_FIFO of priority 1 for the calling thread; 0 or -errno. */
static inline int clab_fifo(void) {
    struct sched_param parameters = {.sched_priority = 1};
    return sched_setscheduler(0, SCHED_FIFO, &parameters) < 0 ? -errno : 0;
}

/** An AF_PACKET socket bound to one interface and EtherType; descriptor or -errno. */
static inline int clab_packet_socket(int interface, unsigned short type, int receive_buffer) {
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, receive_buffer ? htons(type) : 0);
    if (fd < 0) return -errno;
    int one = 1;
    if (receive_buffer) {
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer, sizeof(receive_buffer)) < 0)
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one));
    } else {
        setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one));
    }
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = receive_buffer ? htons(type) : 0, .sll_ifindex = interface};
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

/** Opens an existing tap or creates it, as a virtual machine's process does; descriptor or -errno. */
static inline int clab_open_tap(const char *name) {
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return -errno;
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(fd, TUNSETIFF, &request) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

/** Frames that the kernel dropped since the last call because the buffer was full. */
static inline int64_t clab_drops(int fd) {
    struct tpacket_stats statistics = {0};
    socklen_t length = sizeof(statistics);
    if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &length) < 0) return -1;
    return statistics.tp_drops;
}

/** One received frame: its first bytes and the kernel's receive time stamp (CLOCK_REALTIME). */
struct clab_frame {
    int64_t time;
    uint32_t length;
    /** Sent by this host: the bytes are those of the frame, the length is 0. */
    uint32_t outgoing;
    uint8_t bytes[CLAB_FRAME];
};

/** Receives up to CLAB_BATCH frames without blocking; frames that this host sent on the interface have length 0. */
static inline int clab_receive(int fd, struct clab_frame *frames) {
    struct mmsg {
        struct msghdr header;
        unsigned int length;
    } messages[CLAB_BATCH];
    struct iovec parts[CLAB_BATCH];
    struct sockaddr_ll senders[CLAB_BATCH];
    char control[CLAB_BATCH][64];
    memset(messages, 0, sizeof(messages));
    for (int index = 0; index < CLAB_BATCH; index++) {
        parts[index] = (struct iovec){.iov_base = frames[index].bytes, .iov_len = CLAB_FRAME};
        messages[index].header = (struct msghdr){
            .msg_name = &senders[index], .msg_namelen = sizeof(senders[index]), .msg_iov = &parts[index],
            .msg_iovlen = 1, .msg_control = control[index], .msg_controllen = sizeof(control[index])};
    }
    int count = (int)syscall(SYS_recvmmsg, fd, messages, CLAB_BATCH, MSG_DONTWAIT, NULL);
    if (count < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    for (int index = 0; index < count; index++) {
        frames[index].outgoing = senders[index].sll_pkttype == PACKET_OUTGOING;
        frames[index].length = senders[index].sll_pkttype == PACKET_OUTGOING ? 0 : messages[index].length;
        frames[index].time = 0;
        for (struct cmsghdr *part = CMSG_FIRSTHDR(&messages[index].header); part;
             part = CMSG_NXTHDR(&messages[index].header, part)) {
            if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SO_TIMESTAMPNS) continue;
            struct timespec stamp;
            memcpy(&stamp, CMSG_DATA(part), sizeof(stamp));
            frames[index].time = (int64_t)stamp.tv_sec * 1000000000 + stamp.tv_nsec;
        }
    }
    return count;
}

#endif
