"""STUN messages of an ICE-lite agent. The C interface and what each function promises is in stun.pxd."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memset

from rtp_core.digest cimport SHA1_LEN, crc32, hmac_sha1
from rtp_core.rtp cimport load16, load32, load64, store16, store32, store64

from enum import IntEnum
from ipaddress import ip_address
from typing import NamedTuple

cdef enum:
    MAGIC_COOKIE = 0x2112A442
    FINGERPRINT_XOR = 0x5354554E
    BINDING = 1
    # attributes
    MAPPED_ADDRESS = 0x0001
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    REALM = 0x0014
    NONCE = 0x0015
    XOR_MAPPED_ADDRESS = 0x0020
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    FINGERPRINT = 0x8028
    ICE_CONTROLLED_ATTR = 0x8029
    ICE_CONTROLLING_ATTR = 0x802A
    INTEGRITY_LEN = 24  # whole attributes
    FINGERPRINT_LEN = 8


# --- reading --------------------------------------------------------------------------------------------

cdef bint read_xor_address(const uint8_t* value, int len, const uint8_t* header, StunAddress* address) noexcept nogil:
    cdef int i, size
    if len == 8 and value[1] == 1:
        address.family = 4
        size = 4
    elif len == 20 and value[1] == 2:
        address.family = 6
        size = 16
    else:
        return False
    address.port = load16(value + 2) ^ <uint16_t>(MAGIC_COOKIE >> 16)
    for i in range(size):  # the cookie and the transaction id stand side by side in the header
        address.ip[i] = value[4 + i] ^ header[4 + i]
    return True


cdef int read_attribute(StunMessage* msg, int kind, const uint8_t* value, int len) noexcept nogil:
    """One attribute that stands before the integrity. STUN_OK or STUN_BAD."""
    cdef const uint8_t* colon
    if kind == USERNAME:
        if len > STUN_MAX_USERNAME or msg.username != NULL:
            return STUN_BAD
        msg.username = value
        msg.username_len = len
        colon = <const uint8_t*>memchr(value, 58, len)  # ":"
        msg.ufrag_len = <int32_t>(colon - value) if colon != NULL else -1
    elif kind == PRIORITY:
        if len != 4:
            return STUN_BAD
        msg.has_priority = 1
        msg.priority = load32(value)
    elif kind == USE_CANDIDATE:
        if len != 0:
            return STUN_BAD
        msg.use_candidate = 1
    elif kind == ICE_CONTROLLING_ATTR or kind == ICE_CONTROLLED_ATTR:
        if len != 8:
            return STUN_BAD
        msg.role = ICE_CONTROLLING if kind == ICE_CONTROLLING_ATTR else ICE_CONTROLLED
        msg.tie_breaker = load64(value)
    elif kind == XOR_MAPPED_ADDRESS:
        if not read_xor_address(value, len, msg.data, &msg.mapped):
            return STUN_BAD
    elif kind == ERROR_CODE:
        if len < 4 or not 3 <= value[2] & 7 <= 6 or value[3] > 99:
            return STUN_BAD
        msg.error_code = (value[2] & 7) * 100 + value[3]
    elif kind < 0x8000 and kind not in (MAPPED_ADDRESS, UNKNOWN_ATTRIBUTES, REALM, NONCE):
        # RFC 8489 section 14: 0x0000..0x7FFF have to be understood.
        if msg.unknown_count < STUN_MAX_UNKNOWN:
            msg.unknown[msg.unknown_count] = <uint16_t>kind
            msg.unknown_count += 1
    return STUN_OK


cdef int stun_parse(const uint8_t* data, int len, StunMessage* msg) noexcept nogil:
    cdef int at = STUN_HEADER_LEN, kind, size
    cdef uint16_t type
    if len < STUN_HEADER_LEN or data[0] >> 6 or load32(data + 4) != MAGIC_COOKIE:
        return STUN_NOT_STUN
    size = load16(data + 2)
    if size & 3 or size != len - STUN_HEADER_LEN:
        return STUN_NOT_STUN
    memset(msg, 0, sizeof(StunMessage))
    type = load16(data)
    msg.data = data
    msg.len = len
    msg.transaction_id = data + 8
    # RFC 8489 section 5: the two class bits sit at 4 and 8, between the bits of the method.
    msg.cls = ((type >> 7) & 2) | ((type >> 4) & 1)
    msg.method = (type & 0x0F) | ((type >> 1) & 0x70) | ((type >> 2) & 0xF80)
    msg.ufrag_len = -1
    while at < len:
        if len - at < 4 or msg.has_fingerprint:  # nothing may follow a FINGERPRINT
            return STUN_BAD
        kind = load16(data + at)
        size = load16(data + at + 2)
        if size > len - at - 4:
            return STUN_BAD
        if kind == FINGERPRINT:
            if size != 4:
                return STUN_BAD
            # The header's length counts the fingerprint and nothing after it, as it is last.
            if at + FINGERPRINT_LEN != len:
                return STUN_BAD
            if load32(data + at + 4) != crc32(data, at) ^ <uint32_t>FINGERPRINT_XOR:
                return STUN_BAD_FINGERPRINT
            msg.has_fingerprint = 1
        elif msg.integrity_offset:
            pass  # RFC 8489 section 14.5: what follows the integrity isn't covered by it and is ignored
        elif kind == MESSAGE_INTEGRITY:
            if size != SHA1_LEN:
                return STUN_BAD
            msg.integrity_offset = at
        elif read_attribute(msg, kind, data + at + 4, size) != STUN_OK:
            return STUN_BAD
        at += 4 + ((size + 3) & ~3)
    return STUN_OK


cdef int stun_triage(const StunMessage* msg) noexcept nogil:
    if msg.cls != STUN_REQUEST or msg.method != BINDING:
        return STUN_DROP
    if msg.username == NULL and not msg.integrity_offset:
        return STUN_UNKNOWN if msg.unknown_count else STUN_PLAIN
    if msg.username == NULL or not msg.integrity_offset or msg.ufrag_len < 1:
        return STUN_MALFORMED
    return STUN_CHECK


cdef bint stun_check_integrity(const StunMessage* msg, const uint8_t* password, int password_len) noexcept nogil:
    cdef uint8_t header[STUN_HEADER_LEN]
    cdef uint8_t digest[SHA1_LEN]
    cdef uint8_t difference = 0
    cdef int i
    if not msg.integrity_offset or password_len <= 0:
        return False
    # RFC 8489 section 14.5: hashed as if the message ended with the integrity.
    memcpy(header, msg.data, STUN_HEADER_LEN)
    store16(header + 2, <uint16_t>(msg.integrity_offset + INTEGRITY_LEN - STUN_HEADER_LEN))
    hmac_sha1(password, password_len, header, STUN_HEADER_LEN, msg.data + STUN_HEADER_LEN,
              msg.integrity_offset - STUN_HEADER_LEN, digest)
    for i in range(<int>SHA1_LEN):
        difference |= digest[i] ^ msg.data[msg.integrity_offset + 4 + i]
    return difference == 0


cdef int stun_check(const StunMessage* msg, const uint8_t* password, int password_len) noexcept nogil:
    if not stun_check_integrity(msg, password, password_len):
        return 401
    if msg.unknown_count:
        return 420
    if msg.role == ICE_CONTROLLED:
        return 487  # RFC 8445 section 6.1.1: a lite agent is controlled, the full one controls
    return 0


# --- building -------------------------------------------------------------------------------------------

cdef void write_header(uint8_t* dst, uint16_t type, const uint8_t* transaction_id) noexcept nogil:
    store16(dst, type)
    store16(dst + 2, 0)
    store32(dst + 4, MAGIC_COOKIE)
    memcpy(dst + 8, transaction_id, 12)


cdef int attribute(uint8_t* dst, int at, int kind, const uint8_t* value, int len) noexcept nogil:
    """Writes one at `at`, padded with zeros; returns where the next one goes."""
    cdef int end = at + 4 + ((len + 3) & ~3)
    memset(dst + end - 4, 0, 4)
    store16(dst + at, <uint16_t>kind)
    store16(dst + at + 2, <uint16_t>len)
    if len:
        memcpy(dst + at + 4, value, len)
    return end


cdef int finish(uint8_t* dst, int at, const uint8_t* password, int password_len, bint fingerprint) noexcept nogil:
    """Adds integrity (with a password) and fingerprint, sets the length; returns the whole length."""
    cdef uint8_t digest[SHA1_LEN]
    cdef uint8_t crc[4]
    if password != NULL:
        store16(dst + 2, <uint16_t>(at + INTEGRITY_LEN - STUN_HEADER_LEN))
        hmac_sha1(password, password_len, dst, at, NULL, 0, digest)
        at = attribute(dst, at, MESSAGE_INTEGRITY, digest, SHA1_LEN)
    if fingerprint or password != NULL:
        store16(dst + 2, <uint16_t>(at + FINGERPRINT_LEN - STUN_HEADER_LEN))
        store32(crc, crc32(dst, at) ^ <uint32_t>FINGERPRINT_XOR)
        at = attribute(dst, at, FINGERPRINT, crc, 4)
    store16(dst + 2, <uint16_t>(at - STUN_HEADER_LEN))
    return at


cdef int stun_write_success(uint8_t* dst, int cap, const StunMessage* request, const StunAddress* mapped,
                            const uint8_t* password, int password_len) noexcept nogil:
    cdef uint8_t value[20]
    cdef int size = 4 if mapped.family == 4 else 16
    cdef int at = STUN_HEADER_LEN, i
    if cap < STUN_MAX_RESPONSE:
        return STUN_NO_ROOM
    write_header(dst, 0x0101, request.transaction_id)
    value[0] = 0
    value[1] = 1 if mapped.family == 4 else 2
    store16(value + 2, mapped.port ^ <uint16_t>(MAGIC_COOKIE >> 16))
    for i in range(size):
        value[4 + i] = mapped.ip[i] ^ dst[4 + i]
    at = attribute(dst, at, XOR_MAPPED_ADDRESS, value, 4 + size)
    return finish(dst, at, password, password_len, request.has_fingerprint)


cdef int stun_write_error(uint8_t* dst, int cap, const StunMessage* request, int code,
                          const uint8_t* password, int password_len) noexcept nogil:
    cdef uint8_t value[2 * STUN_MAX_UNKNOWN]
    cdef int at = STUN_HEADER_LEN, i
    if cap < STUN_MAX_RESPONSE:
        return STUN_NO_ROOM
    write_header(dst, 0x0111, request.transaction_id)
    value[0] = 0
    value[1] = 0
    value[2] = <uint8_t>(code // 100)
    value[3] = <uint8_t>(code % 100)
    at = attribute(dst, at, ERROR_CODE, value, 4)  # an empty reason phrase is legal, and small
    if code == 420:
        for i in range(request.unknown_count):
            store16(value + 2 * i, request.unknown[i])
        at = attribute(dst, at, UNKNOWN_ATTRIBUTES, value, 2 * request.unknown_count)
    return finish(dst, at, password, password_len, request.has_fingerprint)


cdef int stun_write_request(uint8_t* dst, int cap, const uint8_t* transaction_id, const uint8_t* username,
                            int username_len, const uint8_t* password, int password_len, uint32_t priority,
                            int role, uint64_t tie_breaker, bint use_candidate) noexcept nogil:
    cdef uint8_t value[8]
    cdef int at = STUN_HEADER_LEN
    if cap < STUN_MAX_REQUEST or username_len > STUN_MAX_USERNAME:
        return STUN_NO_ROOM
    write_header(dst, 0x0001, transaction_id)
    if username_len:
        at = attribute(dst, at, USERNAME, username, username_len)
    if role != ICE_NO_ROLE:
        store64(value, tie_breaker)
        at = attribute(dst, at, ICE_CONTROLLING_ATTR if role == ICE_CONTROLLING else ICE_CONTROLLED_ATTR, value, 8)
        store32(value, priority)
        at = attribute(dst, at, PRIORITY, value, 4)
        if use_candidate:
            at = attribute(dst, at, USE_CANDIDATE, NULL, 0)
    return finish(dst, at, password if username_len else NULL, password_len, True)


# --- for Python -----------------------------------------------------------------------------------------

class StunError(ValueError):
    """Bytes that are not a well-formed STUN message, or arguments that don't fit into one."""


class Class(IntEnum):
    REQUEST = STUN_REQUEST
    INDICATION = STUN_INDICATION
    SUCCESS = STUN_SUCCESS
    ERROR = STUN_ERROR


class Triage(IntEnum):
    DROP = STUN_DROP
    PLAIN = STUN_PLAIN
    CHECK = STUN_CHECK
    MALFORMED = STUN_MALFORMED
    UNKNOWN = STUN_UNKNOWN


class Role(IntEnum):
    NONE = ICE_NO_ROLE
    CONTROLLING = ICE_CONTROLLING
    CONTROLLED = ICE_CONTROLLED


class Address(NamedTuple):
    host: str
    port: int


cdef StunAddress as_address(object address) except *:
    cdef StunAddress out
    cdef int i
    ip = ip_address(address[0])
    memset(&out, 0, sizeof(out))
    out.family = ip.version
    out.port = address[1]
    packed = ip.packed
    for i in range(len(packed)):
        out.ip[i] = packed[i]
    return out


cdef bytes BLANK_HEADER = bytes(STUN_HEADER_LEN)


cdef class Message:
    """One parsed message; it keeps the bytes that it points into."""
    cdef StunMessage msg
    cdef readonly bytes data

    def __cinit__(self):
        # An empty request until it is filled, so that no method meets a NULL.
        self.data = BLANK_HEADER
        self.msg.data = self.data
        self.msg.len = STUN_HEADER_LEN
        self.msg.transaction_id = self.msg.data + 8
        self.msg.ufrag_len = -1

    @property
    def cls(self):
        return Class(self.msg.cls)

    @property
    def method(self):
        return self.msg.method

    @property
    def transaction_id(self):
        return self.data[8:20]

    @property
    def username(self):
        if self.msg.username == NULL:
            return None
        return (<const char*>self.msg.username)[:self.msg.username_len]

    @property
    def ufrag(self):
        return None if self.msg.ufrag_len < 0 else self.username[:self.msg.ufrag_len]

    @property
    def has_integrity(self):
        return self.msg.integrity_offset > 0

    @property
    def has_fingerprint(self):
        return bool(self.msg.has_fingerprint)

    @property
    def use_candidate(self):
        return bool(self.msg.use_candidate)

    @property
    def priority(self):
        return self.msg.priority if self.msg.has_priority else None

    @property
    def role(self):
        return Role(self.msg.role)

    @property
    def tie_breaker(self):
        return self.msg.tie_breaker

    @property
    def error_code(self):
        return self.msg.error_code or None

    @property
    def mapped(self):
        if not self.msg.mapped.family:
            return None
        size = 4 if self.msg.mapped.family == 4 else 16
        packed = (<const char*>self.msg.mapped.ip)[:size]
        return Address(str(ip_address(packed)), self.msg.mapped.port)

    @property
    def unknown(self):
        cdef int i
        return [self.msg.unknown[i] for i in range(self.msg.unknown_count)]

    def triage(self):
        return Triage(stun_triage(&self.msg))

    def check_integrity(self, bytes password):
        return bool(stun_check_integrity(&self.msg, password, <int>len(password)))

    def check(self, bytes password):
        return stun_check(&self.msg, password, <int>len(password))

    def success(self, address, bytes password=None):
        cdef StunAddress mapped = as_address(address)
        cdef uint8_t out[STUN_MAX_RESPONSE]
        cdef const uint8_t* key = NULL
        if password is not None:
            key = password
        size = stun_write_success(out, STUN_MAX_RESPONSE, &self.msg, &mapped, key, len(password or b""))
        return out[:size]

    def error(self, int code, bytes password=None):
        cdef uint8_t out[STUN_MAX_RESPONSE]
        cdef const uint8_t* key = NULL
        if not 300 <= code <= 699:
            raise StunError(f"no such error code: {code}")
        if password is not None:
            key = password
        size = stun_write_error(out, STUN_MAX_RESPONSE, &self.msg, code, key, len(password or b""))
        return out[:size]


def parse_untrusted(bytes data):
    cdef Message message = Message.__new__(Message)
    cdef int verdict
    message.data = data
    verdict = stun_parse(data, <int>len(data), &message.msg)
    if verdict == STUN_BAD_FINGERPRINT:
        raise StunError("wrong fingerprint")
    if verdict != STUN_OK:
        raise StunError("not a STUN message" if verdict == STUN_NOT_STUN else "malformed attributes")
    return message


def build_request(bytes transaction_id, *, bytes username=b"", bytes password=b"", uint32_t priority=0,
                  int role=0, uint64_t tie_breaker=0, bint use_candidate=False):
    cdef uint8_t out[STUN_MAX_REQUEST]
    cdef int size
    if len(transaction_id) != 12:
        raise StunError("a transaction id has twelve bytes")
    size = stun_write_request(out, STUN_MAX_REQUEST, transaction_id, username, <int>len(username), password,
                              <int>len(password), priority, role, tie_breaker, use_candidate)
    if size < 0:
        raise StunError("the user name is too long")
    return out[:size]
