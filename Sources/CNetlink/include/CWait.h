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
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
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

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

/** pidfd_send_signal(2), kernel 5.1 and later. Returns -errno on failure. */
static inline int cn_signal_process(int descriptor, int signal) {
    return syscall(SYS_pidfd_send_signal, descriptor, signal, (void *)0, 0) < 0 ? -errno : 0;
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

/* An offset in linux/filter.h that is an expression. */
enum { CN_FRAME_KIND = SKF_AD_OFF + SKF_AD_PKTTYPE };

#endif
