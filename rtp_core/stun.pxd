"""STUN (RFC 8489) as an ICE-lite agent needs it (RFC 8445): read binding messages, check them, answer them.

Only binding requests are ever answered: `stun_triage` says DROP to responses and indications, so two servers
can't be made to answer each other, and an answer is never much larger than its question.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef enum StunClass:
    STUN_REQUEST = 0
    STUN_INDICATION = 1
    STUN_SUCCESS = 2
    STUN_ERROR = 3


cdef enum StunVerdict:
    STUN_OK = 0
    STUN_NOT_STUN = -1  # too short, no magic cookie, or lengths that don't fit: not even a STUN message
    STUN_BAD = -2  # a STUN message with attributes that can't be
    STUN_BAD_FINGERPRINT = -3
    STUN_NO_ROOM = -4  # the caller's buffer is too small


cdef enum StunTriage:
    STUN_DROP = 0  # not a binding request: never answered
    STUN_PLAIN = 1  # a request without credentials: answer as a STUN server does
    STUN_CHECK = 2  # has USERNAME and MESSAGE-INTEGRITY: find the ufrag, then stun_check
    STUN_MALFORMED = 400  # one of the two only, or a USERNAME without a colon
    STUN_UNKNOWN = 420  # without credentials, but with an attribute that we would have to understand


cdef enum StunLimits:
    STUN_HEADER_LEN = 20
    STUN_MAX_UNKNOWN = 8  # unknown attributes that a 420 lists
    STUN_MAX_RESPONSE = 128  # room that any of our responses fits in
    STUN_MAX_REQUEST = 640  # the same for a request with the longest user name (512)
    STUN_MAX_USERNAME = 513


cdef enum IceRole:
    ICE_NO_ROLE = 0
    ICE_CONTROLLING = 1
    ICE_CONTROLLED = 2


ctypedef struct StunAddress:
    uint8_t family  # 4, 6, or 0 for none
    uint8_t ip[16]  # network order; IPv4 in the first four
    uint16_t port  # host order


ctypedef struct StunMessage:
    # Pointers reach into the datagram that was parsed, and live as long as it does.
    const uint8_t* data
    int32_t len
    uint8_t cls  # StunClass
    uint16_t method  # 1: binding
    const uint8_t* transaction_id  # 12 bytes
    const uint8_t* username  # NULL: none
    int32_t username_len
    int32_t ufrag_len  # of the receiver's ufrag, before the colon; the sender's follows it. -1: no colon
    int32_t integrity_offset  # of the attribute in data; 0: none
    uint8_t has_fingerprint  # checked by stun_parse
    uint8_t use_candidate
    uint8_t has_priority
    uint8_t role  # IceRole of the sender
    uint32_t priority
    uint64_t tie_breaker
    int32_t error_code  # of an error response, otherwise 0
    StunAddress mapped  # XOR-MAPPED-ADDRESS of a response
    int32_t unknown_count  # comprehension-required attributes that we don't know
    uint16_t unknown[STUN_MAX_UNKNOWN]


# Reads one datagram. STUN_OK or a negative StunVerdict; on failure `msg` is undefined.
cdef int stun_parse(const uint8_t* data, int len, StunMessage* msg) noexcept nogil

# What kind of answer a parsed message deserves, before any key is looked up.
cdef int stun_triage(const StunMessage* msg) noexcept nogil

# True when MESSAGE-INTEGRITY is there and right for this password (compared in constant time).
cdef bint stun_check_integrity(const StunMessage* msg, const uint8_t* password, int password_len) noexcept nogil

# Judges an authenticated check as the controlled, lite side: 0 (success), 401, 420, or 487 when the sender
# says that it is controlled too. To be called after the ufrag was found.
cdef int stun_check(const StunMessage* msg, const uint8_t* password, int password_len) noexcept nogil

# --- building: each returns the length written, or STUN_NO_ROOM -----------------------------------------
# `password` NULL: no MESSAGE-INTEGRITY. Responses carry a FINGERPRINT when the request had one or there is a
# password. STUN_MAX_RESPONSE and STUN_MAX_REQUEST bytes are always enough.

cdef int stun_write_success(uint8_t* dst, int cap, const StunMessage* request, const StunAddress* mapped,
                            const uint8_t* password, int password_len) noexcept nogil

# `code` is 400, 401, 420 (lists the request's unknown attributes), 487, or another of 300..699.
cdef int stun_write_error(uint8_t* dst, int cap, const StunMessage* request, int code,
                          const uint8_t* password, int password_len) noexcept nogil

# A binding request. `username` is "<receiver's ufrag>:<sender's ufrag>", `password` the receiver's; with a
# username_len of 0 it is a plain request. `role` ICE_NO_ROLE leaves out role, tie-breaker and priority.
cdef int stun_write_request(uint8_t* dst, int cap, const uint8_t* transaction_id, const uint8_t* username,
                            int username_len, const uint8_t* password, int password_len, uint32_t priority,
                            int role, uint64_t tie_breaker, bint use_candidate) noexcept nogil
