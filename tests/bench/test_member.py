"""What the load reads out of the SFU's offers, held against the negotiation that writes them."""

from __future__ import annotations

import time
from contextlib import closing

from bench.load.joiner import Lane, answer_to, remote_of
from bench.load.member import heard_in
from bench.load.plan import audio, video
from bench.load.rooms import Room, certificate_for
from rtp_core.srtp import Profile
from server.rtc.capabilities import codecs_of, extensions_of, router_capabilities
from server.rtc.certificate import Certificate
from server.rtc.dtls import DtlsSession
from server.rtc.negotiation import RecvNegotiation
from server.rtc.parameters import IceCandidate, IceParameters

CAPS = router_capabilities()
CERTIFICATE = Certificate.generate(1_800_000_000.0)
ICE = IceParameters(
    "serverufrag",
    "serverpassword-of-some-length",
    [IceCandidate("1", 1, "127.0.0.1", 9, "udp")],
    ice_lite=True,
)


def offered() -> tuple[RecvNegotiation, dict[str, object]]:
    """An offer with a microphone and a camera, and between them a slot that nobody uses."""
    negotiation = RecvNegotiation(CAPS)
    consumers = []
    for kind, who, ssrc in (("audio", "ann", 11), ("video", "bob", 21), ("video", "cem", 31)):
        mid = negotiation.add(kind, stream_id=who, track_id=f"{who}-{kind}")  # type: ignore[arg-type]
        negotiation.set_ssrc(mid, ssrc, ssrc + 1 if kind == "video" else None, who)
        consumers.append({"mid": mid, "participantId": who, "kind": kind})
    negotiation.remove(consumers.pop(1)["mid"])
    sdp = negotiation.offer(ice=ICE, fingerprint=CERTIFICATE.fingerprint())
    return negotiation, {"sdp": sdp, "consumers": consumers}


def test_an_offer_tells_whose_media_comes_under_which_numbers() -> None:
    _, offer = offered()
    heard, twcc_id = heard_in(offer)
    opus = codecs_of("audio", CAPS)[0]
    vp8 = next(one for one in codecs_of("video", CAPS) if one.mime_type.lower() == "video/vp8")
    rtx = next(one for one in CAPS.codecs if one.is_rtx and one.parameters["apt"] == vp8.payload_type)
    assert heard == [
        ("ann", "audio", 11, 0, opus.payload_type, 0),
        ("cem", "video", 31, 32, vp8.payload_type, rtx.payload_type),
    ]
    assert twcc_id == next(one.id for one in extensions_of("video", CAPS) if "transport-wide-cc" in one.uri)


def test_the_answer_made_of_its_lines_is_accepted_whole() -> None:
    negotiation, offer = offered()
    answer = answer_to(
        str(offer["sdp"]), "peer", "peer-password-of-some-length", CERTIFICATE.fingerprint("sha-256").value
    )
    accepted = negotiation.accept_untrusted(answer)
    assert accepted.rejected == []
    assert len(accepted.accepted) == 2


def test_a_profile_is_the_only_one_offered() -> None:
    """The server would choose AES-GCM if it were given the choice."""
    _, offer = offered()
    remote = remote_of(str(offer["sdp"]))
    for profile in Profile:
        certificate, now = certificate_for(profile), time.monotonic()
        with closing(Lane(certificate, remote, "peer")) as lane:
            ours = DtlsSession(CERTIFICATE, "server", [certificate.fingerprint()])
            theirs = lane._dtls
            theirs.start(now)
            while theirs.srtp is None or ours.srtp is None:
                for datagram in theirs.datagrams_to_send():
                    ours.receive_untrusted(datagram, now)
                for datagram in ours.datagrams_to_send():
                    theirs.receive_untrusted(datagram, now)
            assert ours.srtp.profile == profile.name


def test_rooms_know_how_many_streams_they_make() -> None:
    both = (audio(), video(150_000))
    assert Room(2, both).consumers == 4
    assert Room(25, both).consumers == 2 * 25 * 24
    assert Room(1, (video(1_000_000),), listeners=50).consumers == 50
    assert Room(2, (audio(),), listeners=3).consumers == 2 + 6
