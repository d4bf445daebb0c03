"""The pure step with clients in memory: ICE, forwarding, and what reaches whom."""

from __future__ import annotations

import pytest

from rtp_core.ext import Kind
from rtp_core.srtp import Profile
from tests.harness import stun
from tests.harness.rtp import pli
from tests.rtp_core.world import ROUTER_EXTENSIONS, Client, World, opus, vp8

PROFILES = list(Profile)


@pytest.fixture
def world() -> World:
    return World()


def counters(world: World, *names: str) -> tuple[int, ...]:
    found = world.core.counters()
    return tuple(found[name] for name in names)


# --- ICE ---------------------------------------------------------------------------------------------------


def test_check_connects_and_is_answered(world: World) -> None:
    client = Client(world, "a", port=5000, connect=False)
    world.step()
    client.check()
    world.step()
    assert [answer.type for answer in client.answers] == [stun.BINDING_SUCCESS]
    assert client.answers[0].mapped_address == ("192.0.2.1", 5000)
    assert stun.has_integrity(client.raw[0], client.password)
    assert world.events == [("state", client.handle, "connected")]
    assert world.core.channel_of(client.handle) == 0


def test_wrong_password_gets_401_and_changes_nothing(world: World) -> None:
    client = Client(world, "a", port=5000, connect=False)
    world.step()
    client.check(password="not the password")
    client.check(ufrag="nobody")
    world.step()
    assert [answer.error for answer in client.answers] == [401, 401]
    assert world.events == []
    assert world.core.channel_of(client.handle) is None
    assert counters(world, "auth_failures", "stun_unknown_ufrag") == (1, 1)


def test_answers_to_the_unproven_are_rationed(world: World) -> None:
    client = Client(world, "a", port=5000, connect=False)
    world.step()
    for _ in range(500):
        client.check(password="wrong")
        client.send(stun.encode(stun.Message(stun.BINDING_REQUEST)))
    assert len(client.answers) == 40
    client.check()
    assert client.answers[-1].type == stun.BINDING_SUCCESS  # who proves itself is not limited


def test_plain_request_learns_its_address(world: World) -> None:
    client = Client(world, "a", port=5000, host="2001:db8::7", connect=False)
    client.send(stun.encode(stun.Message(stun.BINDING_REQUEST)))
    assert client.answers[0].mapped_address == ("2001:db8::7", 5000)


@pytest.mark.parametrize("kind", [stun.BINDING_SUCCESS, stun.BINDING_ERROR, stun.BINDING_INDICATION])
def test_answers_are_never_answered(world: World, kind: int) -> None:
    client = Client(world, "a", port=5000, connect=False)
    client.send(stun.encode(stun.Message(kind)))
    assert client.raw == []


def test_consent_runs_out_and_returns(world: World) -> None:
    client = Client(world, "a", port=5000)
    world.run(14.9)
    client.check()
    world.run(14.9)
    assert [event[2] for event in world.of("state")] == ["connected"]
    world.run(0.2)
    assert [event[2] for event in world.of("state")] == ["connected", "disconnected"]
    world.run(15)
    assert [event[2] for event in world.of("state")][-1] == "failed"
    client.check()
    world.step()
    assert [event[2] for event in world.of("state")][-1] == "connected"


def test_without_consent_nothing_is_sent(world: World) -> None:
    sender, receiver = Client(world, "a", port=1), Client(world, "b", port=2)
    receiver.consume(sender.produce("0", video=False, ssrc=0xA0), ssrc=0xC0)
    sender.send_rtp(opus(1))
    assert len(receiver.rtp) == 1
    for _ in range(31):
        world.run(1)
        sender.check()
    before = len(receiver.raw)
    sender.send_rtp(opus(2))
    world.run(5)
    assert len(receiver.raw) == before
    receiver.check()
    sender.send_rtp(opus(3))
    assert receiver.rtp[-1].payload == b"opus00003"


def test_restart_keeps_old_credentials_until_new_are_used(world: World) -> None:
    client = Client(world, "a", port=5000)
    world.core.set_ice(client.handle, b"fresh", b"fresh-password-0123456789")
    world.step()
    client.check()
    client.check(ufrag="fresh", password="fresh-password-0123456789")
    client.check()
    assert [answer.error for answer in client.answers[-3:]] == [None, None, 401]


def test_client_moves_by_nomination(world: World) -> None:
    sender, receiver = Client(world, "a", port=1), Client(world, "b", port=2)
    receiver.consume(sender.produce("0", video=False, ssrc=0xA0), ssrc=0xC0)
    old = receiver.place
    receiver.move("192.0.2.9", 7000)
    receiver.check(nominate=False)
    sender.send_rtp(opus(1))
    assert world.clients[old, 0] is receiver
    del world.clients[old, 0]
    sender.send_rtp(opus(2))
    assert [p.payload for p in receiver.rtp] == [b"opus00001"]  # not nominated: the old path is still used
    receiver.check()
    sender.send_rtp(opus(3))
    assert [p.payload for p in receiver.rtp] == [b"opus00001", b"opus00003"]


def test_late_tcp_nomination_does_not_take_over_a_live_udp_path(world: World) -> None:
    client = Client(world, "a", port=1)
    client.move("192.0.2.1", 40000, channel=77)
    client.check()
    assert world.core.channel_of(client.handle) == 0
    world.run(4)
    client.check()
    assert world.core.channel_of(client.handle) == 77


def test_closed_connection_falls_back_to_another_path(world: World) -> None:
    client = Client(world, "a", port=1)
    world.run(4)
    client.move("192.0.2.1", 40000, channel=77)
    client.check()
    world.core.close_channel(77)
    assert world.core.channel_of(client.handle) == 0
    world.core.close_channel(77)


def test_reused_address_belongs_to_who_proved_itself_last(world: World) -> None:
    first = Client(world, "a", port=1)
    second = Client(world, "b", port=1)
    world.core.send_dtls(first.handle, b"\x16to the first")
    world.core.send_dtls(second.handle, b"\x16to the second")
    world.step()
    assert second.raw[-1] == b"\x16to the second"
    assert world.core.counters()["no_path"] == 1


def test_many_paths_stay_bounded(world: World) -> None:
    client = Client(world, "a", port=1)
    for port in range(2000, 2100):
        world.now += 5_000
        client.move("192.0.2.1", port)
        client.check(nominate=False)
    client.send(b"\x16hello")
    client.move("192.0.2.1", 2000)
    client.send(b"\x16forgotten")
    world.step()
    assert [event[2] for event in world.of("dtls")] == [b"\x16hello"]


# --- DTLS --------------------------------------------------------------------------------------------------


def test_dtls_passes_only_after_a_check(world: World) -> None:
    client = Client(world, "a", port=1, connect=False)
    world.step()
    client.send(b"\x16too early")
    client.check()
    client.send(b"\x16in time")
    world.step()
    assert [event[1:] for event in world.of("dtls")] == [(client.handle, b"\x16in time")]
    assert counters(world, "unknown_address") == (1,)
    world.core.send_dtls(client.handle, b"\x16answer")
    world.step()
    assert client.raw[-1] == b"\x16answer"


def test_dtls_flood_is_dropped_and_counted(world: World) -> None:
    for client in [Client(world, f"c{n}", port=n + 1) for n in range(60)]:
        for _ in range(50):
            client.send(b"\x16" + bytes(1200))
    dropped = world.core.counters()["events_dropped"]
    assert dropped > 0
    world.step()
    assert len(world.of("dtls")) == 3000 - dropped


def test_dtls_of_one_participant_takes_nothing_from_others(world: World) -> None:
    hostile, other = Client(world, "a", port=1), Client(world, "b", port=2)
    for _ in range(5000):
        hostile.send(b"\x16" + bytes(1200))
    other.send(b"\x16hello")
    world.step()
    counters = world.core.counters()
    assert (counters["dtls_limited"], counters["events_dropped"]) == (5000 - 64, 0)
    assert [event[1:] for event in world.of("dtls")][-1] == (other.handle, b"\x16hello")
    world.run(1.0)
    for _ in range(100):
        hostile.send(b"\x16again")
    world.step()
    assert sum(event[2] == b"\x16again" for event in world.of("dtls")) == pytest.approx(20, abs=2)


# --- forwarding --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_audio_is_rewritten_for_each_consumer(world: World, profile: Profile) -> None:
    sender = Client(world, "a", port=1, profile=profile)
    receivers = [Client(world, f"r{i}", port=10 + i, profile=PROFILES[i % 3]) for i in range(3)]
    producer = sender.produce("mic", video=False)
    for i, receiver in enumerate(receivers):
        receiver.consume(producer, ssrc=0xC0 + i, mid=str(i))
    for n in range(50):
        sender.send_rtp(opus(65530 + n, mid="mic", level=30))
    for i, receiver in enumerate(receivers):
        assert [p.payload for p in receiver.rtp] == [b"opus%05d" % (65530 + n) for n in range(50)]
        assert {p.ssrc for p in receiver.rtp} == {0xC0 + i}
        assert {p.payload_type for p in receiver.rtp} == {111}
        first = receiver.rtp[0]
        assert [(p.sequence - first.sequence) & 0xFFFF for p in receiver.rtp] == list(range(50))
        assert [(p.timestamp - first.timestamp) & 0xFFFFFFFF for p in receiver.rtp] == [
            960 * n for n in range(50)
        ]
        extensions = first.extensions
        assert extensions[ROUTER_EXTENSIONS[Kind.MID]] == str(i).encode()
        assert extensions[ROUTER_EXTENSIONS[Kind.AUDIO_LEVEL]] == bytes([0x80 | 30])
        numbers = [int.from_bytes(p.extensions[4], "big") for p in receiver.rtp]
        assert numbers == list(range(numbers[0], numbers[0] + 50))
        assert receiver.errors == 0
    world.step()
    assert ("started", producer, None) in world.events
    assert len(world.of("started")) == 4


def test_video_begins_at_a_key_frame_which_is_asked_for_at_once(world: World) -> None:
    sender, receiver = Client(world, "a", port=1), Client(world, "b", port=2)
    producer = sender.produce("cam", video=True, ssrc=0xB0)
    consumer = receiver.consume(producer, ssrc=0xC0, rtx_ssrc=0xC1, paused=True)
    for n in range(5):
        sender.send_rtp(vp8(n))
    assert receiver.rtp == []
    assert sender.rtcp_of(206, 1) == []
    world.core.resume(consumer)
    world.step()
    assert len(sender.rtcp_of(206, 1)) == 1
    assert int.from_bytes(sender.rtcp_of(206, 1)[0][8:12], "big") == 0xB0
    sender.send_rtp(vp8(5))
    sender.send_rtp(vp8(6, key=True))
    sender.send_rtp(vp8(7))
    assert [p.payload[-5:] for p in receiver.rtp] == [b"00006", b"00007"]
    assert {p.payload_type for p in receiver.rtp} == {96}
    world.run(3)
    assert len(sender.rtcp_of(206, 1)) == 1  # it came: nobody asks again


def test_key_frame_is_asked_for_again_until_it_comes(world: World) -> None:
    sender, receiver = Client(world, "a", port=1), Client(world, "b", port=2)
    producer = sender.produce("cam", video=True, ssrc=0xB0)
    receiver.consume(producer, ssrc=0xC0)
    for n in range(200):
        sender.send_rtp(vp8(n))
        world.run(0.01)
    assert 2 <= len(sender.rtcp_of(206, 1)) <= 5


def test_receivers_pli_goes_upstream_throttled(world: World) -> None:
    sender, receiver = Client(world, "a", port=1), Client(world, "b", port=2)
    producer = sender.produce("cam", video=True, ssrc=0xB0)
    consumer = receiver.consume(producer, ssrc=0xC0)
    sender.send_rtp(vp8(0, key=True))
    world.run(2)
    before = len(sender.rtcp_of(206, 1))
    for _ in range(100):
        receiver.send_rtcp(pli(1, 0xC0))
    world.step()
    assert len(sender.rtcp_of(206, 1)) == before + 1
    stats = world.core.stream_stats(consumer)
    assert stats is not None
    assert stats["plis"] == 100


def test_pause_leaves_no_gap(world: World) -> None:
    sender, receiver = Client(world, "a", port=1), Client(world, "b", port=2)
    producer = sender.produce("mic", video=False, ssrc=0xA0)
    consumer = receiver.consume(producer, ssrc=0xC0)
    for n in range(10):
        sender.send_rtp(opus(n))
    world.core.pause(consumer)
    world.step()
    for n in range(10, 20):
        sender.send_rtp(opus(n))
    world.core.resume(consumer)
    world.step()
    for n in range(20, 30):
        sender.send_rtp(opus(n))
    assert [p.payload for p in receiver.rtp] == [b"opus%05d" % n for n in (*range(10), *range(20, 30))]
    first = receiver.rtp[0].sequence
    assert [(p.sequence - first) & 0xFFFF for p in receiver.rtp] == list(range(20))


def test_paused_producer_sends_nothing(world: World) -> None:
    sender, receiver = Client(world, "a", port=1), Client(world, "b", port=2)
    producer = sender.produce("cam", video=True, ssrc=0xB0)
    receiver.consume(producer, ssrc=0xC0)
    sender.send_rtp(vp8(0, key=True))
    world.core.pause(producer)
    world.step()
    sender.send_rtp(vp8(1))
    world.core.resume(producer)
    world.step()
    sender.send_rtp(vp8(2))
    sender.send_rtp(vp8(3, key=True))
    assert [p.payload[-5:] for p in receiver.rtp] == [b"00000", b"00003"]
    assert (receiver.rtp[1].sequence - receiver.rtp[0].sequence) & 0xFFFF == 1


def test_sender_changes_its_ssrc(world: World) -> None:
    sender, receiver = Client(world, "a", port=1), Client(world, "b", port=2)
    producer = sender.produce("mic", video=False)
    receiver.consume(producer, ssrc=0xC0)
    for n in range(5):
        sender.send_rtp(opus(n, ssrc=0xA0, mid="mic"))
    world.now += 100_000
    for n in range(5):
        sender.send_rtp(opus(9000 + n, ssrc=0xA1, mid="mic"))
    sender.send_rtp(opus(5, ssrc=0xA0, mid="mic"))  # a straggler of the old one changes nothing
    sender.send_rtp(opus(9005, ssrc=0xA1))
    assert len(receiver.rtp) == 11
    first = receiver.rtp[0].sequence
    assert [(p.sequence - first) & 0xFFFF for p in receiver.rtp] == list(range(11))


def test_unknown_ssrcs_are_bounded_and_harmless(world: World) -> None:
    sender, receiver = Client(world, "a", port=1), Client(world, "b", port=2)
    receiver.consume(sender.produce("mic", video=False), ssrc=0xC0)
    for ssrc in range(1, 500):
        sender.send_rtp(opus(1, ssrc=ssrc))
        sender.send_rtp(opus(2, ssrc=ssrc, mid="no such mid"))
    sender.send_rtp(opus(7, ssrc=0xA0, mid="mic"))
    assert [p.payload for p in receiver.rtp] == [b"opus00007"]
    assert counters(world, "unknown_ssrc") == (998,)


def test_closed_producer_is_found_again_after_a_rollover(world: World) -> None:
    """A sender that goes on while the call is peer to peer must be heard when it is back in the SFU."""
    sender, receiver = Client(world, "a", port=1), Client(world, "b", port=2)
    producer = sender.produce("mic", video=False)
    for n in range(60_000, 70_000, 50):  # over the wrap of the sequence number
        sender.send_rtp(opus(n, mid="mic"))
    world.core.remove(producer)
    world.step()
    sender.send_rtp(opus(70_000, mid="mic"))
    producer = sender.produce("mic", video=False)
    receiver.consume(producer, ssrc=0xC0)
    sender.send_rtp(opus(70_001, mid="mic"))
    assert [p.payload for p in receiver.rtp] == [b"opus70001"]


def test_replayed_and_forged_packets_are_dropped(world: World) -> None:
    sender, receiver = Client(world, "a", port=1), Client(world, "b", port=2)
    receiver.consume(sender.produce("mic", video=False, ssrc=0xA0), ssrc=0xC0)
    packet = sender.out.protect(opus(1).to_bytes())
    for _ in range(10):
        sender.send(packet)
    packet = sender.out.protect(opus(2).to_bytes())
    sender.send(packet[:-1] + bytes([packet[-1] ^ 1]))
    sender.send(opus(3).to_bytes() + bytes(20))
    assert len(receiver.rtp) == 1
    assert counters(world, "srtp_replays", "srtp_auth_failures") == (9, 2)
    stats = world.core.transport_stats(sender.handle)
    assert stats is not None
    assert stats["srtp_errors"] == 11


def test_media_before_keys_is_dropped(world: World) -> None:
    client = Client(world, "a", port=1, connect=False)
    world.step()
    client.check()
    client.send(opus(1).to_bytes())
    client.send(b"\x80\xc8" + bytes(30))
    assert counters(world, "no_keys") == (2,)
