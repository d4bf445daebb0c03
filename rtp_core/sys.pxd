"""The system calls of the engine's thread (Linux)."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from rtp_core.route cimport Path

cdef extern from "errno.h" nogil:
    int errno
    enum: EAGAIN
    enum: EINTR
    enum: EIO
    enum: EMSGSIZE
    enum: ENOBUFS

cdef extern from "unistd.h" nogil:
    int close(int fd)
    ssize_t read(int fd, void* data, size_t size)
    ssize_t write(int fd, const void* data, size_t size)

cdef extern from "sys/socket.h" nogil:
    int shutdown(int fd, int how)
    enum: SHUT_RDWR

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data:
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data data
    enum: EPOLLIN
    enum: EPOLLOUT
    enum: EPOLLERR
    enum: EPOLLHUP
    enum: EPOLLRDHUP
    enum: EPOLL_CTL_ADD
    enum: EPOLL_CTL_MOD
    enum: EPOLL_CTL_DEL
    enum: EPOLL_CLOEXEC
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int op, int fd, epoll_event* event)
    int epoll_wait(int epoll, epoll_event* events, int count, int timeout_ms)

cdef extern from *:
    """
    #ifndef TANDEM_SYS
    #define TANDEM_SYS
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <arpa/inet.h>
    #include <errno.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <poll.h>
    #include <string.h>
    #include <sys/socket.h>
    #include <sys/uio.h>
    #include <time.h>
    #include <unistd.h>
    #include <stdint.h>

    #ifndef SOL_UDP
    #define SOL_UDP 17
    #endif
    #ifndef UDP_SEGMENT
    #define UDP_SEGMENT 103
    #endif
    #ifndef UDP_GRO
    #define UDP_GRO 104
    #endif

    #define TDM_BATCH 64
    #define TDM_PARTS 8
    #ifdef SO_MEMINFO
    #define TDM_SO_MEMINFO SO_MEMINFO
    #else
    #define TDM_SO_MEMINFO 55
    #endif

    typedef struct {
        struct mmsghdr messages[TDM_BATCH];
        struct iovec parts[TDM_BATCH][TDM_PARTS];
        struct sockaddr_in6 names[TDM_BATCH];
        char control[TDM_BATCH][96] __attribute__((aligned(16)));
    } tdm_batch;

    static inline int64_t tdm_clock_us(int which) {
        struct timespec t;
        clock_gettime(which ? CLOCK_REALTIME : CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
    }

    static inline int tdm_poll(struct pollfd *fds, int count, int64_t timeout_us) {
        struct timespec t;
        t.tv_sec = timeout_us / 1000000;
        t.tv_nsec = (timeout_us % 1000000) * 1000;
        return ppoll(fds, (nfds_t)count, timeout_us < 0 ? NULL : &t, NULL);
    }

    static inline void tdm_read_name(const struct sockaddr *sa, uint8_t *ip, uint16_t *port, uint32_t *scope) {
        *scope = 0;
        if (sa->sa_family == AF_INET) {
            const struct sockaddr_in *v4 = (const struct sockaddr_in *)sa;
            memset(ip, 0, 10);
            ip[10] = ip[11] = 0xff;
            memcpy(ip + 12, &v4->sin_addr, 4);
            *port = ntohs(v4->sin_port);
        } else {
            const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)sa;
            memcpy(ip, &v6->sin6_addr, 16);
            *port = ntohs(v6->sin6_port);
            *scope = v6->sin6_scope_id;
        }
    }

    /* Receives up to `count` messages into slots of `slot` bytes. */
    static inline int tdm_receive(int fd, tdm_batch *b, uint8_t *arena, int count, int slot) {
        int i;
        for (i = 0; i < count; i++) {
            b->parts[i][0].iov_base = arena + (size_t)i * slot;
            b->parts[i][0].iov_len = slot;
            memset(&b->messages[i], 0, sizeof(b->messages[i]));
            b->messages[i].msg_hdr.msg_name = &b->names[i];
            b->messages[i].msg_hdr.msg_namelen = sizeof(b->names[i]);
            b->messages[i].msg_hdr.msg_iov = b->parts[i];
            b->messages[i].msg_hdr.msg_iovlen = 1;
            b->messages[i].msg_hdr.msg_control = b->control[i];
            b->messages[i].msg_hdr.msg_controllen = sizeof(b->control[i]);
        }
        return recvmmsg(fd, b->messages, count, MSG_DONTWAIT, NULL);
    }

    /* Size of message `i`, -1 when it was cut off; who sent it, and which address of ours was asked. With UDP_GRO it
       may be several datagrams of `*segment` bytes, of which the last may be shorter. */
    static inline int tdm_received(tdm_batch *b, int i, uint8_t *ip, uint16_t *port, uint32_t *scope,
                                   uint8_t *local, int *segment) {
        struct msghdr *h = &b->messages[i].msg_hdr;
        struct cmsghdr *c;
        memset(local, 0, 16);
        *segment = (int)b->messages[i].msg_len;
        tdm_read_name((struct sockaddr *)&b->names[i], ip, port, scope);
        for (c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
            if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
                struct in_pktinfo info;
                memcpy(&info, CMSG_DATA(c), sizeof(info));
                local[10] = local[11] = 0xff;
                memcpy(local + 12, &info.ipi_addr, 4);
            } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
                struct in6_pktinfo info;
                memcpy(&info, CMSG_DATA(c), sizeof(info));
                memcpy(local, &info.ipi6_addr, 16);
            } else if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
                int size;
                memcpy(&size, CMSG_DATA(c), sizeof(size));
                if (size > 0)
                    *segment = size;
            }
        }
        return h->msg_flags & MSG_TRUNC ? -1 : (int)b->messages[i].msg_len;
    }

    /* Prepares message `i`: one datagram, or, with a `segment`, as many of that size as `size` holds. A `local` of
       zeros leaves the source to the kernel. */
    static inline void tdm_prepare(tdm_batch *b, int i, uint8_t *data, uint32_t size, uint16_t segment,
                                   const uint8_t *ip, uint16_t port, uint32_t scope, const uint8_t *local, int v4) {
        struct msghdr *h = &b->messages[i].msg_hdr;
        struct cmsghdr *c = (struct cmsghdr *)b->control[i];
        static const uint8_t none[16] = {0};
        h->msg_controllen = 0;
        memset(&b->messages[i], 0, sizeof(b->messages[i]));
        b->parts[i][0].iov_base = data;
        b->parts[i][0].iov_len = size;
        h->msg_name = &b->names[i];
        h->msg_iov = b->parts[i];
        h->msg_iovlen = 1;
        memset(&b->names[i], 0, sizeof(b->names[i]));
        if (v4) {
            struct sockaddr_in *to = (struct sockaddr_in *)&b->names[i];
            to->sin_family = AF_INET;
            to->sin_port = htons(port);
            memcpy(&to->sin_addr, ip + 12, 4);
            h->msg_namelen = sizeof(*to);
        } else {
            struct sockaddr_in6 *to = &b->names[i];
            to->sin6_family = AF_INET6;
            to->sin6_port = htons(port);
            to->sin6_scope_id = scope;
            memcpy(&to->sin6_addr, ip, 16);
            h->msg_namelen = sizeof(*to);
        }
        if (segment) {
            h->msg_control = b->control[i];
            h->msg_controllen = CMSG_SPACE(sizeof(segment));
            c->cmsg_level = SOL_UDP;
            c->cmsg_type = UDP_SEGMENT;
            c->cmsg_len = CMSG_LEN(sizeof(segment));
            memcpy(CMSG_DATA(c), &segment, sizeof(segment));
            c = (struct cmsghdr *)(b->control[i] + CMSG_SPACE(sizeof(segment)));
        }
        if (memcmp(local, none, 16) == 0)
            return;
        h->msg_control = b->control[i];
        if (v4) {
            struct in_pktinfo info;
            memset(&info, 0, sizeof(info));
            memcpy(&info.ipi_spec_dst, local + 12, 4);
            h->msg_controllen += CMSG_SPACE(sizeof(info));
            c->cmsg_level = IPPROTO_IP;
            c->cmsg_type = IP_PKTINFO;
            c->cmsg_len = CMSG_LEN(sizeof(info));
            memcpy(CMSG_DATA(c), &info, sizeof(info));
        } else {
            struct in6_pktinfo info;
            memset(&info, 0, sizeof(info));
            memcpy(&info.ipi6_addr, local, 16);
            h->msg_controllen += CMSG_SPACE(sizeof(info));
            c->cmsg_level = IPPROTO_IPV6;
            c->cmsg_type = IPV6_PKTINFO;
            c->cmsg_len = CMSG_LEN(sizeof(info));
            memcpy(CMSG_DATA(c), &info, sizeof(info));
        }
    }

    /* One more piece of memory of message `i`, which was prepared with its first. */
    static inline void tdm_add_part(tdm_batch *b, int i, uint8_t *data, uint32_t size) {
        struct msghdr *h = &b->messages[i].msg_hdr;
        b->parts[i][h->msg_iovlen].iov_base = data;
        b->parts[i][h->msg_iovlen].iov_len = size;
        h->msg_iovlen++;
    }

    /* Reads a prepared message back, for a wire in memory: its size, of which `capacity` bytes at most are copied. */
    static inline int tdm_read_back(const tdm_batch *b, int i, uint8_t *ip, uint16_t *port, uint16_t *segment,
                                    uint8_t *into, uint32_t capacity) {
        struct msghdr *h = (struct msghdr *)&b->messages[i].msg_hdr;
        struct cmsghdr *c;
        uint32_t scope, size = 0;
        size_t part, length;
        tdm_read_name((const struct sockaddr *)h->msg_name, ip, port, &scope);
        *segment = 0;
        for (c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
            if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_SEGMENT)
                memcpy(segment, CMSG_DATA(c), sizeof(*segment));
        for (part = 0; part < h->msg_iovlen; part++) {
            length = h->msg_iov[part].iov_len;
            if (size + length <= capacity)
                memcpy(into + size, h->msg_iov[part].iov_base, length);
            size += (uint32_t)length;
        }
        return (int)size;
    }

    /* What the kernel holds for a socket: bytes in use and granted, both ways, and datagrams it had no room for.
       False: it does not tell (before 4.12). */
    static inline int tdm_memory(int fd, uint32_t *receive_used, uint32_t *receive_size, uint32_t *send_size,
                                 uint32_t *lost) {
        uint32_t info[16] = {0};
        socklen_t size = sizeof(info);
        if (getsockopt(fd, SOL_SOCKET, TDM_SO_MEMINFO, info, &size) != 0 || size < 9 * sizeof(uint32_t))
            return 0;
        *receive_used = info[0];
        *receive_size = info[1];
        *send_size = info[3];
        *lost = info[8];
        return 1;
    }

    /* Does the kernel cut messages (4.18), and does it coalesce them for this socket (5.0)? */
    static inline int tdm_can_segment(int fd) {
        int value;
        socklen_t size = sizeof(value);
        return getsockopt(fd, SOL_UDP, UDP_SEGMENT, &value, &size) == 0;
    }

    static inline int tdm_coalesce(int fd, int on) {
        return setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof(on)) == 0;
    }

    static inline int tdm_send(int fd, tdm_batch *b, int from, int count) {
        return sendmmsg(fd, b->messages + from, count, MSG_DONTWAIT);
    }

    /* A new connection, ready for use, with who it is and which address of ours it asked; or -1. */
    static inline int tdm_accept(int fd, uint8_t *ip, uint16_t *port, uint32_t *scope, uint8_t *local) {
        struct sockaddr_in6 name;
        socklen_t size = sizeof(name);
        uint16_t own_port;
        uint32_t own_scope;
        int one = 1;
        int got = accept4(fd, (struct sockaddr *)&name, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (got < 0)
            return -1;
        tdm_read_name((struct sockaddr *)&name, ip, port, scope);
        size = sizeof(name);
        if (getsockname(got, (struct sockaddr *)&name, &size) == 0)
            tdm_read_name((struct sockaddr *)&name, local, &own_port, &own_scope);
        setsockopt(got, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        return got;
    }

    /* Two pieces as one write; what is left of them is the caller's to keep. */
    static inline ssize_t tdm_write2(int fd, const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size) {
        struct iovec parts[2] = {{(void *)a, a_size}, {(void *)b, b_size}};
        struct msghdr h;
        memset(&h, 0, sizeof(h));
        h.msg_iov = parts;
        h.msg_iovlen = b_size ? 2 : 1;
        return sendmsg(fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    #endif
    """
    enum: BATCH "TDM_BATCH"
    enum: POLLIN
    cdef struct pollfd:
        int fd
        short events
        short revents
    ctypedef struct Batch "tdm_batch":
        pass
    int64_t clock_us "tdm_clock_us"(int wall) noexcept nogil
    int poll_us "tdm_poll"(pollfd* fds, int count, int64_t timeout_us) noexcept nogil
    int receive_batch "tdm_receive"(int fd, Batch* batch, uint8_t* arena, int count, int slot) noexcept nogil
    int received_at "tdm_received"(Batch* batch, int i, uint8_t* ip, uint16_t* port, uint32_t* scope,
                                   uint8_t* local, int* segment) noexcept nogil
    void prepare "tdm_prepare"(Batch* batch, int i, uint8_t* data, uint32_t size, uint16_t segment, const uint8_t* ip,
                               uint16_t port, uint32_t scope, const uint8_t* local, int v4) noexcept nogil
    void add_part "tdm_add_part"(Batch* batch, int i, uint8_t* data, uint32_t size) noexcept nogil
    bint socket_memory "tdm_memory"(int fd, uint32_t* receive_used, uint32_t* receive_size, uint32_t* send_size,
                                    uint32_t* lost) noexcept nogil
    int read_back "tdm_read_back"(const Batch* batch, int i, uint8_t* ip, uint16_t* port, uint16_t* segment,
                                  uint8_t* into, uint32_t capacity) noexcept nogil
    bint can_segment "tdm_can_segment"(int fd) noexcept nogil
    bint coalesce "tdm_coalesce"(int fd, bint on) noexcept nogil
    int send_batch "tdm_send"(int fd, Batch* batch, int first, int count) noexcept nogil
    int accept_one "tdm_accept"(int fd, uint8_t* ip, uint16_t* port, uint32_t* scope, uint8_t* local) noexcept nogil
    ssize_t write_two "tdm_write2"(int fd, const uint8_t* a, size_t a_size, const uint8_t* b,
                                   size_t b_size) noexcept nogil
