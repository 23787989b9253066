/*
 * The system calls for waiting on signals, besides netlink: descriptors for signals and processes, and packet sockets.
 * Shims only. CNetlink.h includes this header.
 */
#ifndef FDBSTEER_CWAIT_H
#define FDBSTEER_CWAIT_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <malloc.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/*
 * These are raw system calls: if <signal.h> were included here, Swift would attribute types of the C library to this
 * module. The kernel's signal set has 64 bits, and signal N is bit N - 1; the values are ABI.
 */

/** Blocks signals in the calling thread and returns a signalfd(2) for them, or -errno. `old` receives the previous mask. */
static inline int cn_signal_descriptor(uint64_t signals, uint64_t *old) {
    if (syscall(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &signals, old, sizeof(signals)) < 0) return -errno;
    int fd = (int)syscall(SYS_signalfd4, -1, &signals, sizeof(signals), O_CLOEXEC | O_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

/** The number of the next signal of a signalfd, or 0 if there is none. */
static inline int cn_next_signal(int fd) {
    uint32_t information[32]; /* struct signalfd_siginfo, which begins with the number */
    return read(fd, information, sizeof(information)) == sizeof(information) ? (int)information[0] : 0;
}

/** Restores a signal mask. */
static inline void cn_restore_signals(uint64_t old) {
    syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &old, (void *)0, sizeof(old));
}

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/** pidfd_open(2), kernel 5.3 and later: readable once the process has ended. Returns -errno on failure. */
static inline int cn_process_descriptor(pid_t process) {
    int fd = (int)syscall(SYS_pidfd_open, process, 0);
    return fd < 0 ? -errno : fd;
}

/**
 * Blocks of 128 KiB and more go back to the kernel when they are freed. The C library raises that limit to 32 MiB as they are used, and keeps
 * what each thread has freed (mallopt(3)).
 */
static inline void cn_give_back_memory(void) { mallopt(M_MMAP_THRESHOLD, 128 << 10); }

/** accept4(2), which GNU hides: a descriptor that does not block and that other programs do not inherit. Returns -errno on failure. */
static inline int cn_accept(int fd) {
    int client = (int)syscall(SYS_accept4, fd, (void *)0, (void *)0, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return client < 0 ? -errno : client;
}

/** SO_PEERCRED of unix(7): the process and the user at the other end, as they were when it connected. Returns 0 or -errno. */
static inline int cn_peer(int fd, pid_t *process, uid_t *user) {
    struct {
        pid_t process;
        uid_t user;
        gid_t group;
    } credentials; /* struct ucred, which GNU hides */
    socklen_t length = sizeof(credentials);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) return -errno;
    *process = credentials.process;
    *user = credentials.user;
    return 0;
}

/** Makes a pipe that other programs do not inherit and whose reading end does not block. Returns -errno on failure. */
static inline int cn_pipe(int ends[2]) {
    if (syscall(SYS_pipe2, ends, O_CLOEXEC) < 0) return -errno;
    return fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

/**
 * Opens an AF_PACKET socket that receives from one interface through a filter, or only sends if there is no filter. Returns -errno
 * on failure. It is bound after the filter is attached, so frames that do not match are never queued.
 */
static inline int cn_packet_socket(int interface, const struct sock_filter *filter, unsigned short length) {
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    struct sock_fprog program = {.len = length, .filter = (struct sock_filter *)filter};
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = length ? htons(ETH_P_ALL) : 0, .sll_ifindex = interface};
    if ((length && setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0) ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

/**
 * Makes a packet socket tell each frame's VLAN tag and offloads (PACKET_AUXDATA, PACKET_VNET_HDR), and queue so many bytes of frames.
 * Returns 0 or -errno.
 */
static inline int cn_packet_details(int fd, int bytes) {
    int one = 1;
    if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0) return -errno;
    if (bytes == 0) return 0;
    if (setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)) < 0) return -errno;
    /* Without CAP_NET_ADMIN in the first user namespace, the limit of net.core.rmem_max applies. */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    return 0;
}

/** Frames that a packet socket has dropped since this was last asked (PACKET_STATISTICS). */
static inline unsigned int cn_packet_drops(int fd) {
    struct tpacket_stats statistics = {0};
    socklen_t length = sizeof(statistics);
    if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &length) < 0) return 0;
    return statistics.tp_drops;
}

/** A received frame: `length` bytes, a struct virtio_net_hdr first, and the VLAN tag that the kernel had removed. */
struct cn_captured {
    unsigned int length;
    unsigned short tag_type, tag; /**< 0: none */
    unsigned char outgoing, truncated;
};

/**
 * recvmmsg(2), which GNU hides, from a socket of cn_packet_details. Does not wait; each frame has `room` bytes of the buffer. Returns the
 * number of frames, or -errno.
 */
enum { CN_CAPTURE_MOST = 32, CN_VNET_HEADER = 10 };
static inline int cn_capture(int fd, void *buffer, unsigned int room, struct cn_captured *frames) {
    union cn_control {
        char bytes[64]; /* CMSG_SPACE(sizeof(struct tpacket_auxdata)) is 40 */
        struct cmsghdr header;
    } controls[CN_CAPTURE_MOST];
    struct sockaddr_ll addresses[CN_CAPTURE_MOST];
    struct iovec parts[CN_CAPTURE_MOST];
    struct cn_part {
        struct msghdr header;
        unsigned int length;
    } messages[CN_CAPTURE_MOST];
    for (int i = 0; i < CN_CAPTURE_MOST; i++) {
        parts[i] = (struct iovec){.iov_base = (char *)buffer + (size_t)i * room, .iov_len = room};
        messages[i].header = (struct msghdr){
            .msg_name = &addresses[i], .msg_namelen = sizeof(addresses[i]), .msg_iov = &parts[i], .msg_iovlen = 1,
            .msg_control = &controls[i], .msg_controllen = sizeof(controls[i])};
    }
    int count;
    do {
        count = (int)syscall(SYS_recvmmsg, fd, messages, CN_CAPTURE_MOST, MSG_DONTWAIT, (void *)0);
    } while (count < 0 && errno == EINTR);
    if (count < 0) return -errno;
    for (int i = 0; i < count; i++) {
        struct msghdr *header = &messages[i].header;
        frames[i] = (struct cn_captured){
            .length = messages[i].length, .outgoing = addresses[i].sll_pkttype == PACKET_OUTGOING,
            .truncated = (header->msg_flags & MSG_TRUNC) != 0};
        for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
            if (part->cmsg_level != SOL_PACKET || part->cmsg_type != PACKET_AUXDATA) continue;
            struct tpacket_auxdata details;
            memcpy(&details, CMSG_DATA(part), sizeof(details));
            if (!(details.tp_status & TP_STATUS_VLAN_VALID)) continue;
            frames[i].tag = details.tp_vlan_tci;
            frames[i].tag_type = details.tp_status & TP_STATUS_VLAN_TPID_VALID ? details.tp_vlan_tpid : ETH_P_8021Q;
        }
    }
    return count;
}

/** The process that made a connected Unix socket's other end, or listened at it (SO_PEERCRED); 0 where it cannot be told. */
static inline int cn_peer_process(int fd) {
    struct { int pid; unsigned int uid, gid; } peer = {0}; /* struct ucred */
    socklen_t length = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 ? 0 : peer.pid;
}

/** Memory of so many bytes that no core dump has (MADV_DONTDUMP) and no child inherits, or NULL. */
static inline void *cn_private_memory(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    if (madvise(memory, bytes, 16 /* MADV_DONTDUMP */) < 0 || madvise(memory, bytes, 10 /* MADV_DONTFORK */) < 0) {
        munmap(memory, bytes);
        return NULL;
    }
    return memory;
}

/* An offset in linux/filter.h that is an expression. */
enum { CN_FRAME_KIND = SKF_AD_OFF + SKF_AD_PKTTYPE };

#endif
