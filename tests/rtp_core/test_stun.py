from __future__ import annotations

import hashlib
import hmac
import zlib
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp_core import stun
from rtp_core.stun import Class, Role, StunError, Triage

# RFC 5769
PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"
TRANSACTION = bytes.fromhex("b7e7a701 bc34d686 fa87dfae")
REQUEST = bytes.fromhex(
    "00010058 2112a442 b7e7a701 bc34d686 fa87dfae 80220010 5354554e 20746573 7420636c 69656e74"
    "00240004 6e0001ff 80290008 932ff9b1 51263b36 00060009 6576746a 3a683676 59202020"
    "00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2 80280004 e57a3bcf"
)
RESPONSE_V4 = bytes.fromhex(
    "0101003c 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220"
    "00200008 0001a147 e112a643 00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7 80280004 c07d4c96"
)
RESPONSE_V6 = bytes.fromhex(
    "01010048 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220"
    "00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9"
    "00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41 80280004 c8fb0b4c"
)
LONG_TERM = bytes.fromhex(
    "00010060 2112a442 78ad3433 c6ad72c0 29da412e 00060012 e3839ee3 8388e383 aae38383 e382afe3 82b90000"
    "0015001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341"
    "0014000b 6578616d 706c652e 6f726700 00080014 f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666"
)


def attribute(kind: int, value: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)


def message(
    *attributes: bytes, type: int = 0x0001, password: bytes | None = None, seal: bool = False
) -> bytes:
    """A message put together with hashlib and zlib, apart from the code under test."""
    body = b"".join(attributes)

    def header(length: int) -> bytes:
        return type.to_bytes(2, "big") + length.to_bytes(2, "big") + b"\x21\x12\xa4\x42" + TRANSACTION

    if password is not None:
        digest = hmac.digest(password, header(len(body) + 24) + body, "sha1")
        body += attribute(0x0008, digest)
    if seal:
        crc = zlib.crc32(header(len(body) + 8) + body) ^ 0x5354554E
        body += attribute(0x8028, crc.to_bytes(4, "big"))
    return header(len(body)) + body


def test_the_rfcs_request() -> None:
    got = stun.parse_untrusted(REQUEST)
    assert (got.cls, got.method, got.transaction_id) == (Class.REQUEST, 1, TRANSACTION)
    assert (got.username, got.ufrag) == (b"evtj:h6vY", b"evtj")
    assert (got.priority, got.role, got.tie_breaker) == (0x6E0001FF, Role.CONTROLLED, 0x932FF9B151263B36)
    assert not got.use_candidate
    assert got.has_fingerprint
    assert got.check_integrity(PASSWORD)
    assert not got.check_integrity(PASSWORD[:-1])
    assert not got.check_integrity(b"")
    assert got.triage() is Triage.CHECK
    assert got.check(PASSWORD) == 487, "its sender is controlled, as we are"


@pytest.mark.parametrize(
    ("data", "address"),
    [(RESPONSE_V4, "192.0.2.1"), (RESPONSE_V6, "2001:db8:1234:5678:11:2233:4455:6677")],
)
def test_the_rfcs_responses(data: bytes, address: str) -> None:
    got = stun.parse_untrusted(data)
    assert got.cls is Class.SUCCESS
    assert got.mapped == (address, 32853)
    assert got.check_integrity(PASSWORD)
    assert got.triage() is Triage.DROP


def test_the_rfcs_long_term_request() -> None:
    got = stun.parse_untrusted(LONG_TERM)
    user = "マトリックス"
    assert got.username == user.encode()
    assert got.check_integrity(hashlib.md5(f"{user}:example.org:TheMatrIX".encode()).digest())
    assert got.triage() is Triage.MALFORMED, "a user name without a colon is none of ours"


def test_no_bit_of_a_sealed_request_may_flip() -> None:
    """The flips that still parse hide the fingerprint: in its own type, or in the length of the user name,
    which then swallows the integrity too."""
    fingerprint_type = range((len(REQUEST) - 8) * 8, (len(REQUEST) - 6) * 8)
    parsed = []
    for bit in range(len(REQUEST) * 8):
        bad = bytearray(REQUEST)
        bad[bit // 8] ^= 0x80 >> bit % 8
        try:
            got = stun.parse_untrusted(bytes(bad))
        except StunError:
            continue
        parsed.append(bit)
        assert not got.has_fingerprint
        assert got.check_integrity(PASSWORD) is (bit in fingerprint_type)
    assert parsed == [506, *fingerprint_type]


def test_no_covered_bit_may_flip_under_the_integrity() -> None:
    """The same without a fingerprint: what still parses must not authenticate."""
    data = message(attribute(6, b"evtj:h6vY"), attribute(0x24, b"\x01\x02\x03\x04"), password=PASSWORD)
    assert stun.parse_untrusted(data).check_integrity(PASSWORD)
    survivors = 0
    for bit in range(len(data) * 8):
        bad = bytearray(data)
        bad[bit // 8] ^= 0x80 >> bit % 8
        try:
            got = stun.parse_untrusted(bytes(bad))
        except StunError:
            continue
        survivors += 1
        assert not got.check_integrity(PASSWORD)
    assert survivors > 300


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(message()[:19], id="short header"),
        pytest.param(b"\x40" + message()[1:], id="top bits set"),
        pytest.param(message()[:4] + b"\x21\x12\xa4\x43" + TRANSACTION, id="cookie"),
        pytest.param(message() + bytes(4), id="more bytes than said"),
        pytest.param(message(attribute(6, b"abcd"))[:-4], id="fewer bytes than said"),
        pytest.param(message(b"\x00\x06\x00\x00")[:-1], id="length not of four"),
        pytest.param(message(b"\x00\x06\x00\x05abcd"), id="attribute past the end"),
        pytest.param(message(attribute(0x24, b"123")), id="priority of three"),
        pytest.param(message(attribute(0x25, b"1")), id="use-candidate with a value"),
        pytest.param(message(attribute(0x802A, b"1234")), id="tie-breaker of four"),
        pytest.param(message(attribute(0x20, b"\x00\x01" + bytes(7))), id="address of nine"),
        pytest.param(message(attribute(0x20, b"\x00\x02" + bytes(6))), id="IPv6 of four"),
        pytest.param(message(attribute(0x09, b"\x00\x00\x02\x00")), id="error class 2"),
        pytest.param(message(attribute(0x09, b"\x00\x00\x04\x64")), id="error number 100"),
        pytest.param(message(attribute(0x08, bytes(19))), id="integrity of nineteen"),
        pytest.param(message(attribute(6, b"a" * 514)), id="long user name"),
        pytest.param(message(attribute(6, b"a:b"), attribute(6, b"c:d")), id="two user names"),
        pytest.param(message(attribute(0x8028, bytes(4)), seal=False), id="fingerprint of zeros"),
        pytest.param(message(attribute(0x8028, bytes(8))), id="fingerprint of eight"),
    ],
)
def test_malformed_messages_are_refused(data: bytes) -> None:
    with pytest.raises(StunError):
        stun.parse_untrusted(data)


def test_nothing_follows_a_fingerprint() -> None:
    sealed = message(seal=True)
    longer = sealed[:2] + (len(sealed) - 20 + 4).to_bytes(2, "big") + sealed[4:] + attribute(0x8022, b"")
    with pytest.raises(StunError):
        stun.parse_untrusted(longer)


def test_what_follows_the_integrity_is_ignored() -> None:
    """Otherwise anyone on the path could nominate a candidate for us."""
    honest = message(attribute(6, b"a:b"), password=b"pw")
    forged = honest[20:] + attribute(0x25, b"") + attribute(0x7777, b"")
    got = stun.parse_untrusted(message(forged))
    assert not got.use_candidate
    assert got.unknown == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(message(), Triage.PLAIN, id="plain request"),
        pytest.param(message(attribute(0x8022, b"me"), seal=True), Triage.PLAIN, id="plain with software"),
        pytest.param(message(attribute(3, bytes(4))), Triage.UNKNOWN, id="change-request"),
        pytest.param(message(attribute(6, b"a:b"), password=b"p"), Triage.CHECK, id="check"),
        pytest.param(message(attribute(6, b"a:b")), Triage.MALFORMED, id="no integrity"),
        pytest.param(message(password=b"p"), Triage.MALFORMED, id="no user name"),
        pytest.param(message(attribute(6, b"ab"), password=b"p"), Triage.MALFORMED, id="no colon"),
        pytest.param(message(attribute(6, b":b"), password=b"p"), Triage.MALFORMED, id="empty ufrag"),
        pytest.param(message(type=0x0011), Triage.DROP, id="indication"),
        pytest.param(message(type=0x0101), Triage.DROP, id="success"),
        pytest.param(message(type=0x0111), Triage.DROP, id="error"),
        pytest.param(message(type=0x0003), Triage.DROP, id="allocate"),
    ],
)
def test_triage(data: bytes, expected: Triage) -> None:
    assert stun.parse_untrusted(data).triage() is expected


@pytest.mark.parametrize(
    ("attributes", "password", "expected"),
    [
        ([attribute(6, b"a:b"), attribute(0x802A, bytes(8))], b"pw", 0),
        ([attribute(6, b"a:b")], b"pw", 0),
        ([attribute(6, b"a:b"), attribute(0x802A, bytes(8))], b"other", 401),
        ([attribute(6, b"a:b"), attribute(0x7F00, b"")], b"pw", 420),
        ([attribute(6, b"a:b"), attribute(0xFF00, b"")], b"pw", 0),
        ([attribute(6, b"a:b"), attribute(0x8029, bytes(8))], b"pw", 487),
        ([attribute(6, b"a:b"), attribute(0x7F00, b""), attribute(0x8029, bytes(8))], b"other", 401),
    ],
)
def test_a_check_is_judged(attributes: list[bytes], password: bytes, expected: int) -> None:
    got = stun.parse_untrusted(message(*attributes, password=password))
    assert got.triage() is Triage.CHECK
    assert got.check(b"pw") == expected


def test_every_method_and_class_is_told_apart() -> None:
    for method in (0, 1, 2, 0x0F, 0x10, 0x7F, 0x80, 0xFFF):
        for cls in Class:
            type = (method & 0xF) | (method & 0x70) << 1 | (method & 0xF80) << 2
            type |= (cls & 1) << 4 | (cls & 2) << 7
            got = stun.parse_untrusted(message(type=type))
            assert (got.method, got.cls) == (method, cls)


@given(
    st.ip_addresses(), st.integers(0, 65535), st.booleans(), st.none() | st.binary(min_size=1, max_size=100)
)
def test_a_success_response(
    ip: IPv4Address | IPv6Address, port: int, sealed: bool, password: bytes | None
) -> None:
    request = stun.parse_untrusted(message(seal=sealed))
    data = request.success((str(ip), port), password)
    got = stun.parse_untrusted(data)
    assert (got.cls, got.method, got.transaction_id) == (Class.SUCCESS, 1, TRANSACTION)
    assert got.mapped == (str(ip), port)
    xored = (port ^ 0x2112).to_bytes(2, "big") + bytes(
        a ^ b for a, b in zip(ip.packed, b"\x21\x12\xa4\x42" + TRANSACTION, strict=False)
    )
    family = bytes((0, 1 if ip.version == 4 else 2))
    expected = message(
        attribute(0x20, family + xored), type=0x0101, password=password, seal=sealed or password is not None
    )
    assert data == expected


@pytest.mark.parametrize("password", [None, b"pw"])
@pytest.mark.parametrize("code", [400, 401, 420, 487])
def test_an_error_response(code: int, password: bytes | None) -> None:
    unknown = [0x7F00 + i for i in range(12)]
    request = stun.parse_untrusted(message(*(attribute(kind, b"") for kind in unknown)))
    assert request.unknown == unknown[:8]
    listed = b"".join(kind.to_bytes(2, "big") for kind in unknown[:8])
    attributes = [attribute(9, bytes((0, 0, code // 100, code % 100)))]
    if code == 420:
        attributes.append(attribute(0x000A, listed))
    data = request.error(code, password)
    assert data == message(*attributes, type=0x0111, password=password, seal=password is not None)
    assert stun.parse_untrusted(data).error_code == code


@pytest.mark.parametrize("code", [0, 299, 700])
def test_an_impossible_error_code_is_refused(code: int) -> None:
    with pytest.raises(StunError):
        stun.parse_untrusted(message()).error(code)


@given(st.binary(max_size=513), st.binary(min_size=1, max_size=256), st.sampled_from(Role), st.booleans())
def test_a_request_is_what_its_arguments_say(username: bytes, password: bytes, role: Role, use: bool) -> None:
    data = stun.build_request(
        TRANSACTION,
        username=username,
        password=password,
        priority=0x01020304,
        role=role,
        tie_breaker=0x1122334455667788,
        use_candidate=use,
    )
    got = stun.parse_untrusted(data)
    assert got.has_fingerprint
    assert got.username == (username or None)
    assert got.role is role
    if role is not Role.NONE:
        assert (got.priority, got.tie_breaker, got.use_candidate) == (0x01020304, 0x1122334455667788, use)
    assert got.check_integrity(password) is bool(username)


def test_a_request_with_bad_arguments_is_refused() -> None:
    with pytest.raises(StunError, match="twelve"):
        stun.build_request(b"short")
    with pytest.raises(StunError, match="long"):
        stun.build_request(TRANSACTION, username=b"a" * 514, password=b"p")


def test_no_answer_is_worth_a_reflection() -> None:
    """An answer to a stranger stays under 2.2 times its question, and under 1.6 with UDP and IPv4 headers."""
    worst = 0.0
    for unknown in range(9):
        data = message(*(attribute(0x7F00 + i, b"") for i in range(unknown)))
        request = stun.parse_untrusted(data)
        answer = request.error(420) if unknown else request.success(("2001:db8::1", 1))
        assert len(answer) <= 2.2 * len(data)
        worst = max(worst, (len(answer) + 28) / (len(data) + 28))
    assert worst < 1.6


def test_a_message_that_was_never_parsed_is_an_empty_request() -> None:
    bare = stun.Message()
    assert (bare.cls, bare.transaction_id, bare.triage()) == (Class.REQUEST, bytes(12), Triage.DROP)
    assert stun.parse_untrusted(bare.success(("192.0.2.1", 1))).mapped == ("192.0.2.1", 1)
