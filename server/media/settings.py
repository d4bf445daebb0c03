"""What the media server is told at its start. Plain data; units in names."""

from __future__ import annotations

import msgspec

DEFAULT_CODECS = ("opus", "VP8", "VP9", "H264", "AV1")


class MediaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`announce` wins over detection: the addresses that clients reach this machine by."""

    addresses: tuple[str, ...] = ()  # to listen on; empty: all, IPv4 and IPv6
    udp_port: int = 0  # 0: any free one
    tcp_port: int | None = 0  # None: no ICE-TCP; 0: any free one
    announce: tuple[str, ...] = ()  # addresses for candidates; empty: this machine's own
    codecs: tuple[str, ...] = DEFAULT_CODECS
    engines: int = 1  # threads; each has the next port
    spread_above: int = (
        200  # consumers of a room on its engine; further receivers go where there is least to do
    )
    max_transports: int = 4096  # of each engine
    max_tcp_connections: int = 1024  # of each engine
    disconnected_s: float = 15.0  # without a valid ICE check
    failed_s: float = 30.0
    dtls_linger_s: float = 30.0  # a finished handshake's last flight can be repeated for so long
    udp_offload: bool = True  # UDP_GRO and UDP_SEGMENT, where the kernel has them
    real_time: bool = True  # where allowed, with more cores than engines, and without polling
    busy_poll_us: int = 0  # an engine stays awake for so long after a packet
    socket_buffer_bytes: int = 4 * 1024 * 1024  # asked for in both directions; the kernel may grant less
