"""A participant who sends and is sent media: joined by blocking sockets, then handed to the native thread.

Everything it knows of the call it has from the public WebSocket: which SSRC carries whose camera stands in
the offers of the SFU.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, NamedTuple

from bench.load.joiner import FEATURES, PATIENCE_S, Joiner, Lane, Remote, remote_of
from bench.load.plain_websocket import PlainWebSocket
from bench.load.plan import Kind, Media, Place, Receiving, Sending
from server.rtc.certificate import Certificate
from tests.harness.sdp_client import (
    AUDIO_LEVEL_ID,
    MID_ID,
    OPUS,
    TRANSPORT_CC_ID,
    VP8,
    VP8_RTX,
    Track,
    send_offer,
)

_CODEC = {"audio": "opus/48000", "video": "VP8/90000"}
_FIRST_TAG_SSRC = 1_000_000  # of the stream with tag 0; RTX has its own numbers
_RTX = 500_000_000


class Heard(NamedTuple):
    """One m-line of the SFU's offer that carries media."""

    participant_id: str
    kind: Kind
    ssrc: int
    rtx_ssrc: int
    payload_type: int
    rtx_payload_type: int


class Member(Joiner):
    """`tags` are the numbers of its streams among all of the load, in the order of `media`."""

    def __init__(
        self, url: str, certificate: Certificate, media: list[Media], tags: list[int], address: str = ""
    ) -> None:
        super().__init__(url, certificate, speaks=bool(media))
        self.media = dict(zip((one.kind for one in media), zip(media, tags, strict=True), strict=True))
        self.address = address  # of its sockets
        self.participant_id = ""
        self.twcc_id = 0
        self.heard: list[Heard] = []

    def enter(self, room: str, name: str) -> None:
        """RuntimeError or TimeoutError if it cannot."""
        self._socket = PlainWebSocket(self._url, PATIENCE_S)
        self._ask("hello", name=name, client="bench", features=FEATURES)
        enabled = {f"{kind}Enabled": kind in self.media for kind in ("audio", "video")}
        joining = self._ask("call.join", roomId=room, sdp=self._offer() if self.media else None, **enabled)
        result = self._result(joining)
        self.participant_id = result["call"]["participantId"] if "call" in result else result["participantId"]
        if self.media:
            self.sending = self._connect(remote_of(result["published"]["sdp"]))
        while not self._offers:
            self._read()
        offer = self._offers[-1]
        self.receiving = self._connect(remote_of(offer["sdp"]))
        self._answer(offer)
        self._shake([one for one in (self.sending, self.receiving) if one is not None])

    def places(self, tag_of: dict[tuple[str, Kind], int], *, checks: bool = True) -> list[Place]:
        """Its transports for the native thread; `tag_of` knows whose stream is whose. Others stay silent: the
        server offers what might be sent, muted or not."""
        found = []
        for lane in (self.sending, self.receiving):
            if lane is None:
                continue
            assert lane.pair is not None
            mine = lane is self.sending
            found.append(
                Place(
                    lane.socket.fileno(), lane.pair, lane.request if checks else b"",
                    mid_id=MID_ID, twcc_id=TRANSPORT_CC_ID if mine else self.twcc_id, level_id=AUDIO_LEVEL_ID,
                    sending=self._sent() if mine else [],
                    receiving=[] if mine else [
                        Receiving(one.kind, one.ssrc, one.rtx_ssrc, one.payload_type, one.rtx_payload_type,
                                  tag_of[one.participant_id, one.kind])
                        for one in self.heard if (one.participant_id, one.kind) in tag_of
                    ],
                )
            )  # fmt: skip
        return found

    def _sent(self) -> list[Sending]:
        found = []
        for kind, (media, tag) in self.media.items():
            video = kind == "video"
            found.append(
                Sending(
                    media, ssrc_of(tag), ssrc_of(tag) + _RTX if video else 0, VP8 if video else OPUS,
                    VP8_RTX if video else 0, b"1" if video else b"0", tag,
                )
            )  # fmt: skip
        return found

    def _offer(self) -> str:
        def track(kind: Kind, mid: str) -> Track:
            # A source that is not sent is offered all the same, as a page does.
            tag = self.media[kind][1] if kind in self.media else None
            ssrc = secrets.randbelow(1 << 30) + (1 << 31) if tag is None else ssrc_of(tag)
            return Track(kind, mid, ssrc, ssrc + _RTX if kind == "video" else None)

        screen = secrets.randbelow(1 << 30) + (1 << 31)
        tracks = (track("audio", "0"), track("video", "1"), Track("video", "2", screen, screen + 1))
        fingerprint = self.certificate.fingerprint("sha-256")
        return send_offer(ufrag=self._ufrag, pwd=self._pwd, fingerprint=fingerprint, tracks=tracks)

    def _connect(self, remote: Remote) -> Lane:
        lane = Lane(self.certificate, remote, self._ufrag, self.address)
        lane.check()
        return lane

    def _answer(self, offer: dict[str, Any]) -> None:
        super()._answer(offer)
        self.heard, self.twcc_id = heard_in(offer)


def ssrc_of(tag: int) -> int:
    return _FIRST_TAG_SSRC + tag


def heard_in(offer: dict[str, Any]) -> tuple[list[Heard], int]:
    """What the offer carries, and the id of the transport-wide number's extension (0: none)."""
    sections = {}
    for text in offer["sdp"].split("\r\nm=")[1:]:
        mid = re.search(r"^a=mid:(\S+)", text, re.M)
        if mid is not None:
            sections[mid[1]] = text
    number = re.search(r"^a=extmap:(\d+)\S* \S*transport-wide-cc", offer["sdp"], re.M)
    found = []
    for one in offer["consumers"]:
        text = sections[one["mid"]]
        codec = _CODEC[one["kind"]]
        payload_type = re.search(rf"^a=rtpmap:(\d+) {codec}", text, re.M)
        assert payload_type is not None, f"no {codec} for {one}"
        rtx = re.search(rf"^a=fmtp:(\d+) apt={payload_type[1]}\s*$", text, re.M)
        pair = re.search(r"^a=ssrc-group:FID (\d+) (\d+)", text, re.M)
        alone = re.search(r"^a=ssrc:(\d+)", text, re.M)
        assert alone is not None, f"no SSRC for {one}"
        ssrc, rtx_ssrc = (int(pair[1]), int(pair[2])) if pair else (int(alone[1]), 0)
        rtx_type = int(rtx[1]) if rtx and pair else 0
        found.append(Heard(one["participantId"], one["kind"], ssrc, rtx_ssrc, int(payload_type[1]), rtx_type))
    return found, int(number[1]) if number else 0
