/*
 * All access to C goes through this header: the kernel's uapi headers and the few system calls that Swift cannot make.
 * Shims only: macros and variadic calls wrapped as inline functions, and constants that older headers lack. No logic.
 */
#ifndef FDBSTEER_CNETLINK_H
#define FDBSTEER_CNETLINK_H

/* These come first: otherwise linux/in6.h, which linux/if_bridge.h includes, and linux/if.h conflict with them. */
#include <net/if.h>
#include <netinet/in.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/devlink.h>
#include <linux/ethtool.h>
#include <linux/ethtool_netlink.h>
#include <linux/filter.h>
#include <linux/gen_stats.h>
#include <linux/genetlink.h>
#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/neighbour.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/tc_act/tc_mirred.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "CWait.h"

/* Code points of kernels newer than Debian 12's headers (linux 6.1). The values are ABI. */
#ifndef NTF_EXT_MANAGED
#define NTF_EXT_MANAGED (1 << 0)
#endif
#ifndef NTF_EXT_LOCKED
#define NTF_EXT_LOCKED (1 << 1)
#endif
#ifndef RTEXT_FILTER_SKIP_STATS
#define RTEXT_FILTER_SKIP_STATS (1 << 3)
#endif

/* Enumerators of linux/if_link.h of 6.2 and later, which no #ifdef can test. */
enum {
    CN_IFLA_BRPORT_MAB = 40,
    CN_IFLA_BR_FDB_N_LEARNED = 48,
    CN_IFLA_BR_FDB_MAX_LEARNED = 49,
};

/* From linux/if_bridge.h of 6.3 and later: MDBE_ATTR_*, MDBE_SRC_LIST_*, MDBE_SRCATTR_*. */
enum {
    CN_MDBE_ATTR_SRC_LIST = 2,
    CN_MDBE_ATTR_GROUP_MODE = 3,
    CN_MDBE_ATTR_RTPROT = 4,
    CN_MDBE_SRC_LIST_ENTRY = 1,
    CN_MDBE_SRCATTR_ADDRESS = 1,
};

/* From linux/netfilter.h, which conflicts with <netinet/in.h>: NFPROTO_NETDEV, NF_NETDEV_EGRESS, NFPROTO_BRIDGE; and from
 * linux/netfilter_bridge.h NF_BR_PRE_ROUTING. */
enum {
    CN_NFPROTO_NETDEV = 5,
    CN_NF_NETDEV_EGRESS = 1,
    CN_NFPROTO_BRIDGE = 7,
    CN_NF_BR_PRE_ROUTING = 0,
};

/* Macros that are casts or expressions, which Swift cannot import: the handles of clsact and its egress filters, and the
 * offset at which classic BPF reads metadata of the frame (linux/pkt_sched.h, linux/filter.h). */
enum {
    CN_CLSACT_MINOR_EGRESS = TC_H_MIN_EGRESS,
    CN_SKF_AD_OFF = SKF_AD_OFF,
};
static const unsigned int cn_clsact = TC_H_CLSACT;

/** The mask of an attribute's type without its flag bits. The kernel's macro is an expression, which Swift cannot import. */
static const unsigned short cn_nla_type_mask = (unsigned short)NLA_TYPE_MASK;

/* GNU functions for error names. They need _GNU_SOURCE, which a header cannot define early enough. */
extern const char *strerrorname_np(int);
extern const char *strerrordesc_np(int);

/** The symbolic name of an error number, or NULL if it is unknown. */
static inline const char *cn_error_name(int number) { return strerrorname_np(number); }
/** The text of an error number, or NULL if it is unknown. */
static inline const char *cn_error_text(int number) { return strerrordesc_np(number); }

/** Binds a netlink socket to an address that the kernel chooses, and stores it in `port`. Returns 0 or -errno. */
static inline int cn_bind(int fd, unsigned int *port) {
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    socklen_t length = sizeof(address);
    if (bind(fd, (struct sockaddr *)&address, length) < 0) return -errno;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0) return -errno;
    if (length != sizeof(address) || address.nl_family != AF_NETLINK) return -EINVAL;
    *port = address.nl_pid;
    return 0;
}

/** The results of recvmsg(2) besides the bytes. */
struct cn_received {
    ssize_t length;      /**< length of the datagram, including bytes beyond the buffer (MSG_TRUNC), or -1 */
    int error;           /**< errno if length is -1 */
    int truncated;       /**< the datagram did not fit */
    unsigned int sender; /**< nl_pid of the sender: 0 is the kernel */
};

/** recvmsg(2) of one netlink datagram, restarted on EINTR. */
static inline struct cn_received cn_receive(int fd, void *buffer, size_t capacity, int flags) {
    struct cn_received result = {0};
    struct sockaddr_nl address = {0};
    struct iovec part = {.iov_base = buffer, .iov_len = capacity};
    struct msghdr header = {
        .msg_name = &address, .msg_namelen = sizeof(address), .msg_iov = &part, .msg_iovlen = 1};
    do {
        result.length = recvmsg(fd, &header, flags | MSG_TRUNC);
    } while (result.length < 0 && errno == EINTR);
    result.error = result.length < 0 ? errno : 0;
    result.truncated = (header.msg_flags & MSG_TRUNC) != 0;
    result.sender = header.msg_namelen == sizeof(address) && address.nl_family == AF_NETLINK ? address.nl_pid : ~0u;
    return result;
}

/**
 * recvmmsg(2), which GNU hides. Waits for one datagram and receives the others that are queued, at most CN_RECEIVE_MOST, each into
 * `room` bytes of the buffer. Returns the number of datagrams, or -1 with the error in the first result.
 */
enum { CN_RECEIVE_MOST = 64 };
static inline int cn_receive_many(int fd, void *buffer, size_t room, int most, struct cn_received *results) {
    struct sockaddr_nl addresses[CN_RECEIVE_MOST];
    struct iovec parts[CN_RECEIVE_MOST];
    struct cn_message {
        struct msghdr header;
        unsigned int length;
    } messages[CN_RECEIVE_MOST];
    if (most > CN_RECEIVE_MOST) most = CN_RECEIVE_MOST;
    for (int i = 0; i < most; i++) {
        parts[i] = (struct iovec){.iov_base = (char *)buffer + (size_t)i * room, .iov_len = room};
        messages[i].header = (struct msghdr){
            .msg_name = &addresses[i], .msg_namelen = sizeof(addresses[i]), .msg_iov = &parts[i], .msg_iovlen = 1};
    }
    int count;
    do {
        count = (int)syscall(SYS_recvmmsg, fd, messages, most, MSG_TRUNC | 0x10000 /* MSG_WAITFORONE */, (void *)0);
    } while (count < 0 && errno == EINTR);
    if (count < 0) results[0] = (struct cn_received){.length = -1, .error = errno};
    for (int i = 0; i < count; i++) {
        struct msghdr *header = &messages[i].header;
        results[i] = (struct cn_received){
            .length = messages[i].length, .truncated = (header->msg_flags & MSG_TRUNC) != 0,
            .sender = header->msg_namelen == sizeof(addresses[i]) && addresses[i].nl_family == AF_NETLINK
                ? addresses[i].nl_pid : ~0u};
    }
    return count;
}

/** send(2) of one buffer to the kernel, restarted on EINTR. Returns the bytes sent, or -errno. */
static inline ssize_t cn_send(int fd, const void *bytes, size_t length) {
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
    struct msghdr header = {
        .msg_name = &kernel, .msg_namelen = sizeof(kernel), .msg_iov = &part, .msg_iovlen = 1};
    ssize_t sent;
    do {
        sent = sendmsg(fd, &header, 0);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

/**
 * ETHTOOL_GDRVINFO by ioctl(2), which is variadic: the driver's name and the version of its firmware, empty if the driver does not
 * report it. Returns 0 or -errno.
 */
static inline int cn_driver_information(int fd, const char *interface, char name[32], char firmware[32]) {
    struct ethtool_drvinfo information = {.cmd = ETHTOOL_GDRVINFO};
    struct ifreq request = {.ifr_data = (void *)&information};
    strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
    if (ioctl(fd, SIOCETHTOOL, &request) < 0) return -errno;
    memcpy(name, information.driver, 32);
    memcpy(firmware, information.fw_version, 32);
    name[31] = firmware[31] = 0;
    return 0;
}

/**
 * Opens an AF_PACKET socket on one interface that receives frames of one EtherType, tagged or not. Returns the descriptor or -errno.
 * Promiscuous mode ends with the socket, however the process ends.
 */
static inline int cn_probe_socket(int interface, unsigned short type, int promiscuous) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, type, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_8021Q, 0, 3), BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 16),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, type, 0, 1), BPF_STMT(BPF_RET | BPF_K, 0xffff),
        BPF_STMT(BPF_RET | BPF_K, 0)};
    int fd = cn_packet_socket(interface, code, sizeof(code) / sizeof(code[0]));
    struct packet_mreq membership = {.mr_ifindex = interface, .mr_type = PACKET_MR_PROMISC};
    if (fd >= 0 && promiscuous &&
        setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof(membership)) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

/** Receives one frame without blocking. Returns its length, 0 if there is none, or -errno. `outgoing`: this host sent the frame. */
static inline ssize_t cn_packet_receive(int fd, void *buffer, size_t capacity, int *outgoing) {
    struct sockaddr_ll sender = {0};
    socklen_t length = sizeof(sender);
    ssize_t received;
    do {
        received = recvfrom(fd, buffer, capacity, 0, (struct sockaddr *)&sender, &length);
    } while (received < 0 && errno == EINTR);
    *outgoing = sender.sll_pkttype == PACKET_OUTGOING;
    return received < 0 ? (errno == EAGAIN ? 0 : -errno) : received;
}

#ifndef F_OFD_GETLK
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#endif

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/**
 * The cookie of the calling thread's network namespace (SO_NETNS_COOKIE, Linux 5.14), which the kernel gives to no other until
 * the next boot. Returns 0 where it cannot be had.
 */
static inline unsigned long long cn_namespace_cookie(void) {
    unsigned long long cookie = 0;
    socklen_t size = sizeof(cookie);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return 0;
    if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) != 0) cookie = 0;
    close(fd);
    return cookie;
}

/**
 * open_by_handle_at(2) of a network namespace by the handle that Linux 6.18 gives it (FD_NSFS_ROOT, FILEID_NSFS and struct
 * nsfs_file_handle of linux/nsfs.h, which older headers lack). Returns 0 when it exists, or -errno: -ESTALE when it does not, or
 * when the caller lacks CAP_SYS_ADMIN in its user namespace.
 */
static inline int cn_find_namespace(unsigned long long cookie, unsigned int inode) {
    struct {
        unsigned int handle_bytes;
        int handle_type;
        unsigned long long id;
        unsigned int type, inode;
    } handle = {16, 0xf1, cookie, 0x40000000, inode};
    long fd = syscall(SYS_open_by_handle_at, -10003, &handle, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    close((int)fd);
    return 0;
}

/** fcntl(2) with F_OFD_GETLK: whether another open file holds a lock on one byte. Returns 0 on failure as well. */
static inline int cn_is_byte_locked(int fd, long long offset) {
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = offset, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/** fcntl(2) with F_OFD_SETLK, which is variadic: takes or releases a write lock on one byte. Returns 0 or -errno. */
static inline int cn_lock_byte(int fd, long long offset, int unlock) {
    struct flock lock = {
        .l_type = unlock ? F_UNLCK : F_WRLCK, .l_whence = SEEK_SET, .l_start = offset, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

#endif
