/* The system calls of the load generator and of the bare loop (Linux). Written apart from rtp_core, so that neither
   measures itself with the other's code. */
#ifndef TANDEM_BENCH_NET
#define TANDEM_BENCH_NET
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define NET_BATCH 64
#define NET_MESSAGE 65536

typedef struct {
    struct mmsghdr messages[NET_BATCH];
    struct iovec parts[NET_BATCH];
    struct sockaddr_in names[NET_BATCH];
    char control[NET_BATCH][128] __attribute__((aligned(16)));
} net_batch;

static inline int64_t net_clock(int which) {
    struct timespec t;
    clock_gettime(which, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int net_receive(int fd, net_batch *b, uint8_t *arena, int count, int slot) {
    int i;
    for (i = 0; i < count; i++) {
        b->parts[i].iov_base = arena + (size_t)i * slot;
        b->parts[i].iov_len = slot;
        memset(&b->messages[i].msg_hdr, 0, sizeof(struct msghdr));
        b->messages[i].msg_hdr.msg_iov = &b->parts[i];
        b->messages[i].msg_hdr.msg_iovlen = 1;
        b->messages[i].msg_hdr.msg_control = b->control[i];
        b->messages[i].msg_hdr.msg_controllen = sizeof(b->control[i]);
    }
    return recvmmsg(fd, b->messages, count, MSG_DONTWAIT, NULL);
}

/* Size of message i; *segment is that of its packets (the last may be shorter), *at the kernel's time or 0. */
static inline int net_received(net_batch *b, int i, int *segment, int64_t *at) {
    struct msghdr *h = &b->messages[i].msg_hdr;
    struct cmsghdr *c;
    *segment = b->messages[i].msg_len;
    *at = 0;
    for (c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(c), sizeof(size));
            if (size > 0 && size < (int)b->messages[i].msg_len)
                *segment = size;
        } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(c), sizeof(t));
            *at = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
        }
    }
    return (int)b->messages[i].msg_len;
}

/* Message i: `size` bytes to ip:port (host order; port 0: the socket is connected), cut into `segment`s if > 0. */
static inline void net_prepare(net_batch *b, int i, uint8_t *data, int size, int segment, uint32_t ip, int port) {
    struct msghdr *h = &b->messages[i].msg_hdr;
    memset(h, 0, sizeof(*h));
    b->parts[i].iov_base = data;
    b->parts[i].iov_len = size;
    h->msg_iov = &b->parts[i];
    h->msg_iovlen = 1;
    if (port) {
        memset(&b->names[i], 0, sizeof(b->names[i]));
        b->names[i].sin_family = AF_INET;
        b->names[i].sin_port = htons((uint16_t)port);
        b->names[i].sin_addr.s_addr = htonl(ip);
        h->msg_name = &b->names[i];
        h->msg_namelen = sizeof(b->names[i]);
    }
    if (segment > 0 && segment < size) {
        struct cmsghdr *c = (struct cmsghdr *)b->control[i];
        uint16_t value = (uint16_t)segment;
        h->msg_control = b->control[i];
        h->msg_controllen = CMSG_SPACE(sizeof(value));
        c->cmsg_level = SOL_UDP;
        c->cmsg_type = UDP_SEGMENT;
        c->cmsg_len = CMSG_LEN(sizeof(value));
        memcpy(CMSG_DATA(c), &value, sizeof(value));
    }
}

/* All of them; what the kernel refuses is skipped. Messages sent. */
static inline int net_send(int fd, net_batch *b, int count) {
    int done = 0, sent = 0;
    while (done < count) {
        int got = sendmmsg(fd, b->messages + done, count - done, 0);
        if (got > 0) {
            done += got;
            sent += got;
        } else if (errno != EINTR) {
            done += 1;
        }
    }
    return sent;
}

static inline int net_wait(struct pollfd *fds, int count, int64_t ns) {
    struct timespec t;
    if (ns < 0)
        ns = 0;
    t.tv_sec = ns / 1000000000;
    t.tv_nsec = ns % 1000000000;
    return ppoll(fds, (nfds_t)count, &t, NULL);
}

static inline int net_epoll(void) { return epoll_create1(EPOLL_CLOEXEC); }

static inline void net_epoll_close(int epoll) {
    if (epoll > 0)
        close(epoll);
}

static inline int net_epoll_add(int epoll, int fd, int index) {
    struct epoll_event event;
    event.events = EPOLLIN;
    event.data.u64 = (uint64_t)index;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* Indices of the sockets that have something, without waiting. */
static inline int net_epoll_wait(int epoll, int *indices, int most) {
    struct epoll_event events[256];
    int i, got = epoll_wait(epoll, events, most < 256 ? most : 256, 0);
    for (i = 0; i < got; i++)
        indices[i] = (int)events[i].data.u64;
    return got;
}
#endif
