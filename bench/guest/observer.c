/*
 * The program of the migrating guest. It counts the bench's numbered frames on each of its NICs and on the failover device,
 * which accepts them; a guest with one virtio NIC and no failover device accepts what that NIC receives. The program records when NICs come and go, sends its own frames, and reports all of this on request through a virtio-serial port.
 *
 * Everything is in memory, so it migrates with the guest. The guest's clock stops while the guest is stopped; the numbers
 * of the frames relate its records to the hosts' clock.
 *
 * Requests are lines; an answer ends with a line that contains only ".":
 *   status                  the current NICs
 *   begin RUN FRAMES GAP    clear all records, and count the runs RUN, RUN + 1, RUN + 2 of FRAMES frames each; send a frame
 *                           every GAP milliseconds
 *   events                  the records since then
 *   dump STREAM             "frames COUNT DROPS\n", then COUNT bytes of marks, COUNT 32-bit times of acceptance (10 us units
 *                           since "begin", by the kernel's receive stamp) and COUNT 32-bit places in the order of acceptance
 *                           (from 1); 0: not accepted; little-endian
 *   surprise                switch off the power of the primary's slot under its driver
 *   refuse                  from now on ignore requests for the primary, by the slot or by ACPI
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/ethtool.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    STREAMS = 3,
    BATCH = 64,
    SNAP = 64,
    /* The type of the bench's frames: bench/LossMeter/Frames/Frame.swift. */
    TYPE = 0x88b5,
    RUN_OFFSET = 14,
    SEQUENCE_OFFSET = 18,
    /* The guest's own frames: bench/LossMeter/Frames/Frame.swift. */
    REPLY_TYPE = 0x88b6,
    REPLY_SIZE = 64,
    /* One reply in this many is broadcast. */
    BROADCAST_EVERY = 100,
    INTERFACES = 512,
    EVENTS = 512,
};

/* How often a frame was seen: once, or again. */
enum mark {
    STANDBY = 1,
    STANDBY_AGAIN = 2,
    PRIMARY = 4,
    PRIMARY_AGAIN = 8,
    ACCEPTED = 16,
    ACCEPTED_AGAIN = 32,
};

enum role { NONE, FAILOVER, STANDBY_NIC, PRIMARY_NIC };
static const char *const role_names[] = {"none", "failover", "standby", "primary"};

struct interface {
    enum role role;
    char name[IFNAMSIZ];
    unsigned flags;
    int is_slave;
};

struct event {
    int64_t time;
    uint32_t newest[STREAMS];
    char text[120];
};

static struct interface interfaces[INTERFACES];
static struct event events[EVENTS];
static int event_count;
static uint8_t *marks[STREAMS];
static uint32_t *times[STREAMS];
static uint32_t *places[STREAMS];
static uint32_t accepted[STREAMS];
static uint32_t newest[STREAMS];
static uint32_t run, frames;
static int64_t begin_time;
static int64_t drops;
static int packets, links, log_file, serial, sender, control;
static int failover_index, standby_index, primary_index;
static uint8_t own_mac[ETH_ALEN];
static uint32_t reply_number;
static unsigned reply_gap = 10;

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...) {
    if (event_count == EVENTS) return;
    struct event *event = &events[event_count++];
    event->time = now() - begin_time;
    memcpy(event->newest, newest, sizeof(newest));
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(event->text, sizeof(event->text), format, arguments);
    va_end(arguments);
}

/* MARK: links */

/* All three have a device, and two of them share one: only the driver distinguishes them. */
static enum role role_of(const char *name) {
    struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
    struct ifreq request = {.ifr_data = (void *)&info};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(control, SIOCETHTOOL, &request) < 0) return NONE;
    if (!strcmp(info.driver, "net_failover")) return FAILOVER;
    return !strcmp(info.driver, "virtio_net") ? STANDBY_NIC : PRIMARY_NIC;
}

static void up(const char *name) {
    struct ifreq request = {0};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(control, SIOCGIFFLAGS, &request) < 0) return;
    request.ifr_flags |= IFF_UP;
    ioctl(control, SIOCSIFFLAGS, &request);
}

/* The device by which the guest receives and sends; 0: not there yet. */
static int own_index(void) { return failover_index ? failover_index : standby_index; }

static void link_changed(struct nlmsghdr *header) {
    struct ifinfomsg *info = NLMSG_DATA(header);
    if (info->ifi_index <= 0 || info->ifi_index >= INTERFACES || info->ifi_type != 1) return;
    struct interface *interface = &interfaces[info->ifi_index];
    if (header->nlmsg_type == RTM_DELLINK) {
        note("gone %s %s", role_names[interface->role], interface->name);
        memset(interface, 0, sizeof(*interface));
        if (info->ifi_index == primary_index) primary_index = 0;
        return;
    }
    int is_slave = 0;
    const uint8_t *mac = NULL;
    int length = IFLA_PAYLOAD(header);
    for (struct rtattr *part = IFLA_RTA(info); RTA_OK(part, length); part = RTA_NEXT(part, length)) {
        if (part->rta_type == IFLA_IFNAME) strncpy(interface->name, RTA_DATA(part), IFNAMSIZ - 1);
        if (part->rta_type == IFLA_ADDRESS && RTA_PAYLOAD(part) == ETH_ALEN) mac = RTA_DATA(part);
        if (part->rta_type == IFLA_MASTER) is_slave = 1;
    }
    if (interface->role == NONE) {
        interface->role = role_of(interface->name);
        interface->flags = info->ifi_flags;
        interface->is_slave = is_slave;
        note("new %s %s flags %x slave %d", role_names[interface->role], interface->name, info->ifi_flags, is_slave);
        if (interface->role == FAILOVER) failover_index = info->ifi_index;
        if (interface->role == STANDBY_NIC) standby_index = info->ifi_index;
        /* net_failover makes its device before it registers the NIC. */
        if (info->ifi_index == own_index()) {
            if (mac) memcpy(own_mac, mac, ETH_ALEN);
            up(interface->name);
        }
        if (interface->role == PRIMARY_NIC) primary_index = info->ifi_index;
        return;
    }
    if (interface->flags == info->ifi_flags && interface->is_slave == is_slave) return;
    interface->flags = info->ifi_flags;
    interface->is_slave = is_slave;
    note("changed %s %s flags %x slave %d", role_names[interface->role], interface->name, info->ifi_flags, is_slave);
}

static void read_links(void) {
    static char buffer[65536];
    for (;;) {
        ssize_t size = recv(links, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (size <= 0) return;
        int length = (int)size;
        for (struct nlmsghdr *header = (void *)buffer; NLMSG_OK(header, length); header = NLMSG_NEXT(header, length))
            if (header->nlmsg_type == RTM_NEWLINK || header->nlmsg_type == RTM_DELLINK) link_changed(header);
    }
}

static void ask_for_links(void) {
    struct {
        struct nlmsghdr header;
        struct ifinfomsg info;
    } request = {.header = {.nlmsg_len = sizeof(request), .nlmsg_type = RTM_GETLINK,
                            .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP}};
    send(links, &request, sizeof(request), 0);
}

/* The driver itself logs when the primary is registered and unregistered. */
static void read_log(void) {
    char line[1024];
    for (;;) {
        ssize_t size = read(log_file, line, sizeof(line) - 1);
        if (size < 0 && errno == EPIPE) continue;
        if (size <= 0) return;
        line[size] = 0;
        char *text = strchr(line, ';');
        if (!text || !strstr(text, "failover")) continue;
        if (!strstr(text, "registered")) continue;
        text[strcspn(text, "\n")] = 0;
        note("log %.100s", text + 1);
    }
}

/* MARK: frames */

static void count_frame(const uint8_t *bytes, unsigned size, int index, int64_t time) {
    if (size < SEQUENCE_OFFSET + 4 || index <= 0 || index >= INTERFACES || !frames) return;
    uint32_t number, stream;
    memcpy(&stream, bytes + RUN_OFFSET, 4);
    memcpy(&number, bytes + SEQUENCE_OFFSET, 4);
    stream = ntohl(stream) - run;
    number = ntohl(number);
    if (stream >= STREAMS || number >= frames) return;
    uint8_t *mark = &marks[stream][number];
    switch (interfaces[index].role) {
    case STANDBY_NIC:
        *mark |= *mark & STANDBY ? STANDBY_AGAIN : STANDBY;
        if (index != own_index()) break;
        __attribute__((fallthrough));
    case FAILOVER:
        *mark |= *mark & ACCEPTED ? ACCEPTED_AGAIN : ACCEPTED;
        if (!times[stream][number]) {
            int64_t units = (time - begin_time) / 10000;
            times[stream][number] = units > 0 ? units : 1;
            places[stream][number] = ++accepted[stream];
        }
        break;
    case PRIMARY_NIC: *mark |= *mark & PRIMARY ? PRIMARY_AGAIN : PRIMARY; break;
    case NONE: return;
    }
    if (number > newest[stream]) newest[stream] = number;
}

static void read_packets(void) {
    static struct mmsghdr messages[BATCH];
    static struct iovec parts[BATCH];
    static struct sockaddr_ll senders[BATCH];
    static uint8_t bytes[BATCH][SNAP];
    static char stamps[BATCH][64];
    for (int index = 0; index < BATCH; index++) {
        parts[index] = (struct iovec){bytes[index], SNAP};
        messages[index].msg_hdr = (struct msghdr){
            .msg_name = &senders[index], .msg_namelen = sizeof(senders[index]), .msg_iov = &parts[index],
            .msg_iovlen = 1, .msg_control = stamps[index], .msg_controllen = sizeof(stamps[index])};
    }
    int count = recvmmsg(packets, messages, BATCH, MSG_DONTWAIT, NULL);
    for (int index = 0; index < count; index++) {
        if (senders[index].sll_pkttype == PACKET_OUTGOING) continue;
        int64_t time = 0;
        struct msghdr *header = &messages[index].msg_hdr;
        for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
            if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SO_TIMESTAMPNS) continue;
            struct timespec stamp;
            memcpy(&stamp, CMSG_DATA(part), sizeof(stamp));
            time = (int64_t)stamp.tv_sec * 1000000000 + stamp.tv_nsec;
        }
        int interface = senders[index].sll_ifindex;
        if (interface > 0 && interface < INTERFACES && interfaces[interface].role == NONE) read_links();
        count_frame(bytes[index], messages[index].msg_len, interface, time);
    }
}

/* Receives from all NICs, including those that do not exist yet. A frame is seen on the NIC first, and again on the failover
 * device if net_failover accepts it. */
static void open_packets(void) {
    packets = socket(AF_PACKET, SOCK_RAW, 0);
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TYPE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SNAP),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};
    setsockopt(packets, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter));
    int size = 16 << 20, one = 1;
    setsockopt(packets, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
    setsockopt(packets, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one));
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    bind(packets, (struct sockaddr *)&address, sizeof(address));
}

static void reply(void) {
    if (!own_index()) return;
    uint8_t frame[REPLY_SIZE] = {0};
    uint32_t number = htonl(++reply_number);
    /* The peers' MACs differ from the guest's only in the last octet. */
    memcpy(frame, own_mac, ETH_ALEN);
    frame[ETH_ALEN - 1] = 0xa1 + reply_number % STREAMS;
    if (reply_number % BROADCAST_EVERY == 0) memset(frame, 0xff, ETH_ALEN);
    memcpy(frame + ETH_ALEN, own_mac, ETH_ALEN);
    frame[12] = REPLY_TYPE >> 8;
    frame[13] = REPLY_TYPE & 0xff;
    memcpy(frame + RUN_OFFSET, &number, 4);
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_ifindex = own_index(), .sll_halen = ETH_ALEN};
    sendto(sender, frame, sizeof(frame), MSG_DONTWAIT, (struct sockaddr *)&address, sizeof(address));
}

/* MARK: requests */

static void tell_bytes(const void *bytes, size_t size) {
    const char *rest = bytes;
    while (size > 0) {
        ssize_t count = write(serial, rest, size);
        if (count > 0) {
            rest += count;
            size -= count;
        } else if (errno != EINTR && errno != EAGAIN) {
            return;
        } else {
            usleep(1000);
        }
    }
}

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    tell_bytes(line, strlen(line));
}

static int64_t new_drops(void) {
    struct tpacket_stats statistics = {0};
    socklen_t length = sizeof(statistics);
    if (getsockopt(packets, SOL_PACKET, PACKET_STATISTICS, &statistics, &length) < 0) return 0;
    return statistics.tp_drops;
}

static void start(uint32_t first_run, uint32_t count) {
    for (int stream = 0; stream < STREAMS; stream++) {
        free(marks[stream]);
        free(times[stream]);
        free(places[stream]);
        marks[stream] = calloc(count, 1);
        times[stream] = calloc(count, 4);
        places[stream] = calloc(count, 4);
        newest[stream] = accepted[stream] = 0;
        if (!marks[stream] || !times[stream] || !places[stream]) count = 0;
    }
    run = first_run;
    frames = count;
    event_count = 0;
    begin_time = now();
    new_drops();
    drops = 0;
}

/* The slot of the primary: its configuration space, and the offset of its controls (PCI_EXP_SLTCTL). */
struct slot {
    char path[PATH_MAX];
    int file;
    int place;
    uint16_t controls;
};

/* Reports what is missing. */
static int open_slot(struct slot *slot) {
    char path[PATH_MAX];
    if (!primary_index) {
        tell("no primary\n");
        return -1;
    }
    snprintf(path, sizeof(path), "/sys/class/net/%s/device", interfaces[primary_index].name);
    if (!realpath(path, slot->path)) {
        tell("no device\n");
        return -1;
    }
    *strrchr(slot->path, '/') = 0;
    strncat(slot->path, "/config", sizeof(slot->path) - strlen(slot->path) - 1);
    slot->file = open(slot->path, O_RDWR);
    uint8_t space[256] = {0};
    int capability = 0;
    if (slot->file >= 0 && pread(slot->file, space, sizeof(space), 0) == (ssize_t)sizeof(space)) {
        capability = space[0x34];
        for (int limit = 0; capability && space[capability] != 0x10 && limit < 48; limit++)
            capability = space[capability + 1];
    }
    if (!capability) {
        tell("%s is no slot\n", slot->path);
        if (slot->file >= 0) close(slot->file);
        return -1;
    }
    slot->place = capability + 0x18;
    slot->controls = space[slot->place] | space[slot->place + 1] << 8;
    return 0;
}

static void set_slot(const struct slot *slot, uint16_t controls) {
    if (pwrite(slot->file, &controls, 2, slot->place) != 2) tell("cannot write %s\n", slot->path);
}

/* With power and power indicator off, QEMU removes the card. The slot's driver did not order that, and must not see it
 * before the power is on again, or it believes that it switched the slot off itself; interrupts are therefore off in the
 * meantime. It then finds a slot with power and without a card. It learns that from the event "presence changed", which it
 * disables in favour of "link changed" if there is an attention button; QEMU only sends "presence changed". */
static void surprise(void) {
    enum { PRESENCE = 0x0008, INTERRUPT = 0x0020, POWER_AND_INDICATOR_OFF = 0x0700 };
    struct slot slot;
    if (open_slot(&slot) < 0) return;
    note("surprise");
    uint16_t silent = slot.controls & ~INTERRUPT;
    set_slot(&slot, silent);
    set_slot(&slot, silent | POWER_AND_INDICATOR_OFF);
    set_slot(&slot, silent);
    set_slot(&slot, slot.controls | PRESENCE);
    close(slot.file);
}

/* Ignores the slot's attention button. If the kernel does not listen to it, ignores QEMU's ACPI event for PCI slots, general
 * purpose event 1. */
static void refuse(void) {
    enum { BUTTON = 0x0001 };
    static const char event[] = "/sys/firmware/acpi/interrupts/gpe01", mask[] = "mask\n";
    struct slot slot;
    if (open_slot(&slot) < 0) return;
    note("refuse");
    int has_button = slot.controls & BUTTON;
    if (has_button) set_slot(&slot, slot.controls & ~BUTTON);
    close(slot.file);
    if (has_button) return;
    int file = open(event, O_WRONLY);
    if (file < 0 || write(file, mask, sizeof(mask) - 1) != sizeof(mask) - 1) tell("cannot write %s\n", event);
    if (file >= 0) close(file);
}

static void handle(char *line) {
    unsigned first, second, third;
    if (!strcmp(line, "status")) {
        for (int index = 1; index < INTERFACES; index++) {
            struct interface *interface = &interfaces[index];
            if (interface->role == NONE) continue;
            tell("%s %s flags %x slave %d\n", role_names[interface->role], interface->name, interface->flags,
                 interface->is_slave);
        }
    } else if (sscanf(line, "begin %u %u %u", &first, &second, &third) == 3 && third > 0) {
        reply_gap = third;
        start(first, second);
    } else if (!strcmp(line, "events")) {
        for (int index = 0; index < event_count; index++) {
            struct event *event = &events[index];
            tell("%lld %u %u %u %s\n", (long long)event->time, event->newest[0], event->newest[1], event->newest[2],
                 event->text);
        }
    } else if (sscanf(line, "dump %u", &first) == 1 && first < STREAMS) {
        uint32_t count = frames ? newest[first] + 1 : 0;
        drops += new_drops();
        tell("frames %u %lld\n", count, (long long)drops);
        tell_bytes(marks[first], count);
        tell_bytes(times[first], (size_t)count * 4);
        tell_bytes(places[first], (size_t)count * 4);
    } else if (!strcmp(line, "surprise")) {
        surprise();
    } else if (!strcmp(line, "refuse")) {
        refuse();
    } else {
        tell("unknown request\n");
    }
    tell(".\n");
}

static void read_serial(void) {
    static char line[256];
    static size_t used;
    char chunk[256];
    ssize_t count = read(serial, chunk, sizeof(chunk));
    for (ssize_t index = 0; index < count; index++) {
        if (chunk[index] == '\n') {
            line[used] = 0;
            used = 0;
            handle(line);
        } else if (used + 1 < sizeof(line)) {
            line[used++] = chunk[index];
        }
    }
    /* The other end is not connected, and the port is then always ready. */
    if (count == 0) usleep(1000);
}

int main(int count, char **arguments) {
    if (count != 2) return 64;
    control = socket(AF_INET, SOCK_DGRAM, 0);
    sender = socket(AF_PACKET, SOCK_RAW, 0);
    open_packets();
    links = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    int size = 4 << 20;
    setsockopt(links, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
    bind(links, (struct sockaddr *)&address, sizeof(address));
    log_file = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
    lseek(log_file, 0, SEEK_END);
    serial = open(arguments[1], O_RDWR | O_NONBLOCK);
    if (control < 0 || sender < 0 || packets < 0 || links < 0 || serial < 0) {
        perror("observer");
        return 1;
    }
    begin_time = now();
    ask_for_links();
    int64_t next_reply = now();
    for (;;) {
        int64_t left = (next_reply - now()) / 1000000;
        struct pollfd sources[] = {
            {packets, POLLIN, 0}, {links, POLLIN, 0}, {log_file, POLLIN, 0}, {serial, POLLIN, 0}};
        poll(sources, 4, left > 0 ? (int)left : 0);
        if (sources[1].revents) read_links();
        if (sources[2].revents) read_log();
        if (sources[0].revents) read_packets();
        if (sources[3].revents & POLLIN) read_serial();
        if (now() >= next_reply) {
            reply();
            next_reply = now() + (int64_t)reply_gap * 1000000;
        }
    }
}
