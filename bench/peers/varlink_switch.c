/*
 * A client of fdbsteerd's local API: varlink_switch SOCKET GUEST COUNT switches the guest to its standby and back, and prints the time
 * from each call to its reply, in nanoseconds, one a line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(int count, char **words) {
    if (count != 4) return fprintf(stderr, "usage: varlink_switch SOCKET GUEST COUNT\n"), 64;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(words[1]) >= sizeof(address.sun_path)) return fprintf(stderr, "%s is too long\n", words[1]), 64;
    strcpy(address.sun_path, words[1]);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client < 0 || connect(client, (struct sockaddr *)&address, sizeof(address)) < 0) return perror(words[1]), 1;
    char calls[2][256];
    for (int way = 0; way < 2; way++)
        snprintf(calls[way], sizeof(calls[way]),
                 "{\"method\":\"io.fdbsteer.Switch\",\"parameters\":{\"guests\":[\"%s\"],\"to\":\"%s\"}}", words[2],
                 way ? "primary" : "standby");
    int most = atoi(words[3]);
    long long *times = calloc((size_t)most, sizeof(*times));
    static char reply[1 << 20];
    for (int call = 0; call < most; call++) {
        char *text = calls[call % 2];
        size_t length = 0;
        long long begin = now();
        if (send(client, text, strlen(text) + 1, MSG_NOSIGNAL) < 0) return perror("send"), 1;
        do {
            ssize_t part = recv(client, reply + length, sizeof(reply) - length, 0);
            if (part <= 0) return fprintf(stderr, "no reply\n"), 1;
            length += (size_t)part;
        } while (reply[length - 1]);
        times[call] = now() - begin;
        if (!strstr(reply, "\"outcome\":\"done\"")) return fprintf(stderr, "%s\n", reply), 1;
    }
    for (int call = 0; call < most; call++) printf("%lld\n", times[call]);
    return 0;
}
