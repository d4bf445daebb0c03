"""Producers and consumers: what rooms hold, each a name for an object of the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtp_core.ext import KIND_OF_URI
from rtp_core.pipeline import PayloadRow, Pipeline
from server.ids import cuid
from server.media.api import StreamStats
from server.media.mirror import Mirror
from server.rtc.capabilities import payload_map
from server.rtc.parameters import (
    HeaderExtension,
    MediaKind,
    RtpCapabilities,
    RtpCodec,
    RtpParameters,
    Source,
)

if TYPE_CHECKING:
    from server.media import api
    from server.media.engine import Engine
    from server.media.transport import Transport

_CODECS = {"video/vp8": 1, "video/vp9": 2, "video/h264": 3, "video/av1": 4}  # keyframe.pxd's CODEC_*
_NO_PAYLOAD = 255


def payload_table(rtp: RtpParameters, caps: RtpCapabilities) -> list[PayloadRow]:
    """The core's table of a sender's payload types, media before RTX. ValueError: the router knows none."""
    mapping = payload_map(rtp, caps)
    router_rtx = {
        int(codec.parameters["apt"]): codec.payload_type
        for codec in caps.codecs
        if codec.is_rtx and "apt" in codec.parameters
    }
    known = [codec for codec in rtp.codecs if codec.payload_type in mapping]
    media = [_media(codec, mapping[codec.payload_type], router_rtx) for codec in known if not codec.is_rtx]
    types = {payload[0] for payload in media}
    rtx = [
        _rtx(codec, mapping[codec.payload_type])
        for codec in known
        if codec.is_rtx and codec.parameters.get("apt") in types
    ]
    if not media:
        raise ValueError("the router knows none of these codecs")
    return media + rtx


def _media(codec: RtpCodec, router_type: int, router_rtx: dict[int, int]) -> PayloadRow:
    feedback = {(item.type, item.parameter) for item in codec.rtcp_feedback}
    return (
        codec.payload_type,
        router_type,
        router_rtx.get(router_type, _NO_PAYLOAD),
        _CODECS.get(codec.mime_type.lower(), 0),
        False,
        0,
        ("nack", "") in feedback,
        ("ccm", "fir") in feedback and ("nack", "pli") not in feedback,
        codec.clock_rate,
    )


def _rtx(codec: RtpCodec, router_type: int) -> PayloadRow:
    apt = int(codec.parameters["apt"])
    return (codec.payload_type, router_type, _NO_PAYLOAD, 0, True, apt, False, False, codec.clock_rate)


def extension_ids(extensions: list[HeaderExtension]) -> dict[int, int]:
    """Kind -> id of those that the core knows."""
    return {int(KIND_OF_URI[item.uri]): item.id for item in extensions if item.uri in KIND_OF_URI}


def _stats(core: Pipeline, handle: int) -> StreamStats:
    found = core.stream_stats(handle)
    if found is None:
        return StreamStats()
    return StreamStats(
        packets=found["packets"],
        bytes=found["bytes"],
        packets_lost=max(0, found["lost"]),
        jitter_ms=round(found["jitter_ms"], 3),
        rtt_ms=None if found["rtt_us"] < 0 else found["rtt_us"] / 1000,
        nacks=found["nacks"],
        plis=found["plis"],
        retransmitted=found["retransmitted"],
        dropped=found["dropped"],
        key_frames=found["key_frames"],
        bitrate_bps=found["bitrate"],
    )


class _Stream:
    """What producers and consumers have in common: an object of the core that can pause, and ends once."""

    def __init__(self, transport: Transport, handle: int, *, paused: bool) -> None:
        self.id = cuid()
        self.handle = handle
        self.transport = transport
        self.paused = paused
        self.closed = False
        self._core = transport.core
        self._last = StreamStats()

    def pause(self) -> None:
        if not self.closed and not self.paused:
            self.paused = True
            self._core.pause(self.handle)
            self._paused()

    def resume(self) -> None:
        if not self.closed and self.paused:
            self.paused = False
            self._core.resume(self.handle)
            self._paused()

    def stats(self) -> StreamStats:
        """After closing: as they were then."""
        if not self.closed:
            self._last = _stats(self._core, self.handle)
        return self._last

    def close(self) -> None:
        if self.closed:
            return
        self.stats()
        self.closed = True
        self._detach()
        self._core.remove(self.handle)

    def _paused(self) -> None:
        """`paused` has changed: tell other engines that have to know."""
        raise NotImplementedError

    def _detach(self) -> None:
        """Let go of what refers to it."""
        raise NotImplementedError


class Producer(_Stream):
    """Media that arrives. Closing it closes its consumers."""

    def __init__(
        self,
        transport: Transport,
        handle: int,
        *,
        kind: MediaKind,
        source: Source,
        rtp: RtpParameters,
        payloads: list[PayloadRow],
    ) -> None:
        super().__init__(transport, handle, paused=False)
        self.kind: MediaKind = kind
        self.source: Source = source
        self.mid = rtp.mid
        self.cname = rtp.cname or transport.id
        self.payloads = payloads
        self.extensions = extension_ids(rtp.header_extensions)
        self.has_rtx = any(payload[2] != _NO_PAYLOAD for payload in payloads)
        self.mirrors: dict[int, Mirror] = {}  # by engine
        self.consumers: set[Consumer] = set()

    def request_keyframe(self) -> None:
        if not self.closed and self.kind == "video":
            self._core.request_keyframe(self.handle)

    def handle_on(self, engine: Engine) -> int:
        """What consumers of that engine consume."""
        if engine is self.transport.engine:
            return self.handle
        if engine.index not in self.mirrors:
            self.mirrors[engine.index] = Mirror(self, engine)
        return self.mirrors[engine.index].handle

    def _paused(self) -> None:
        for mirror in self.mirrors.values():
            mirror.pause() if self.paused else mirror.resume()

    def _detach(self) -> None:
        for consumer in list(self.consumers):
            consumer.close()
        for mirror in list(self.mirrors.values()):
            mirror.close()
        self.transport.forget(self)


class Consumer(_Stream):
    """A producer's media on its way out of one transport."""

    def __init__(
        self,
        transport: Transport,
        producer: Producer,
        handle: int,
        *,
        mid: str,
        ssrc: int,
        rtx_ssrc: int | None,
        paused: bool,
    ) -> None:
        super().__init__(transport, handle, paused=paused)
        self.producer: api.Producer = producer
        self._source = producer
        self.mid = mid
        self.ssrc = ssrc
        self.rtx_ssrc = rtx_ssrc
        self._mirror = producer.mirrors.get(transport.engine.index)
        if self._mirror is not None:
            self._mirror.add(self)

    def _paused(self) -> None:
        if self._mirror is not None:
            self._mirror.follow()

    def _detach(self) -> None:
        self._source.consumers.discard(self)
        if self._mirror is not None:
            self._mirror.discard(self)
        self.transport.forget(self)
