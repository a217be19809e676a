/* The floor: what one core must do at least to answer held polls over TCP.
 *
 * It parses nothing but the end of a request's header, then holds the connection. Each line that arrives on the
 * publish port is sent to every held connection as the body of a 200. No routes, limits, deadlines or lost clients'
 * events: a server that does its work can't be cheaper, only near.
 *
 * Usage: floor POLL_PORT PUBLISH_PORT, both on 127.0.0.1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FDS = 65536, MAX_EVENTS = 1024, MAX_LINE = 65536, BACKLOG = 65535 };

static char is_held[MAX_FDS];
static char line[MAX_LINE];
static size_t line_bytes;
static char answer[MAX_LINE + 256];
static int poller, poll_listener, publish_listener, publisher = -1;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void watch(int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
}

static int listen_on(int port) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, BACKLOG) < 0) fail("listen");
    watch(fd);
    return fd;
}

static void forget(int fd) {
    is_held[fd] = 0;
    if (fd == publisher) publisher = -1;
    close(fd);
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FDS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        is_held[fd] = 0;
        if (listener == publish_listener) publisher = fd;
        watch(fd);
    }
}

static void publish(const char *body, size_t bytes) {
    int head = sprintf(answer, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", bytes);
    memcpy(answer + head, body, bytes);
    for (int fd = 0; fd < MAX_FDS; fd++) {
        if (!is_held[fd]) continue;
        is_held[fd] = 0;
        if (write(fd, answer, (size_t)head + bytes) < 0) forget(fd);
    }
}

static void read_publisher(int fd) {
    ssize_t got = read(fd, line + line_bytes, sizeof line - line_bytes);
    if (got <= 0) {
        forget(fd);
        return;
    }
    line_bytes += (size_t)got;
    char *start = line, *end;
    while ((end = memchr(start, '\n', line_bytes - (size_t)(start - line))) != NULL) {
        publish(start, (size_t)(end - start));
        start = end + 1;
    }
    line_bytes -= (size_t)(start - line);
    memmove(line, start, line_bytes);
}

static void read_poll(int fd) {
    char request[4096];
    ssize_t got = read(fd, request, sizeof request);
    if (got > 0 && memmem(request, (size_t)got, "\r\n\r\n", 4) != NULL) is_held[fd] = 1;
    else if (got == 0 || (got < 0 && errno != EAGAIN)) forget(fd);
}

int main(int argc, char **argv) {
    struct rlimit files;
    struct epoll_event events[MAX_EVENTS];
    if (argc != 3) return 2;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if ((poller = epoll_create1(0)) < 0) fail("epoll_create1");
    poll_listener = listen_on(atoi(argv[1]));
    publish_listener = listen_on(atoi(argv[2]));
    for (;;) {
        int count = epoll_wait(poller, events, MAX_EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == poll_listener || fd == publish_listener) accept_all(fd);
            else if (fd == publisher) read_publisher(fd);
            else read_poll(fd);
        }
    }
}
