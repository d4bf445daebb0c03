"""Who gets whose media, by which m-line, and what an offer and its answer set off."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from server.db import changes
from server.errors import ClientError
from server.rooms.session import Session
from server.rtc.sdp import parse_untrusted
from server.session.settings import CallSettings
from server.signaling import messages as m
from tests.harness.sdp_client import DEFAULT_TRACKS, send_offer
from tests.rooms.conftest import CLIENT_FINGERPRINT, OTHER_FINGERPRINT, Client, House, Wire, settle


async def three_on_the_sfu(house: House) -> tuple[Client, Client, Client]:
    """Ann, Bob and Cid, committed to the SFU, all offers answered."""
    ann, bob, cid = house.client("ann"), house.client("bob"), house.client("cid")
    await ann.enter()
    await bob.enter()
    await ann.swap(bob)
    await bob.swap(ann)
    await cid.enter()
    for one in (ann, bob, cid):
        await answer_all(one)
    for one, others in ((ann, (bob, cid)), (bob, (ann, cid)), (cid, (ann, bob))):
        await one.swap(*others)
    await settle()
    return ann, bob, cid


async def answer_all(client: Client) -> m.SfuOffer:
    """Answer until no offer is out."""
    room = client.session.room
    assert room is not None
    while room.sfu.outstanding_offer(client.pid) is not None:
        await client.answer_offer()
        await settle()
    offer = client.last("sfu.offer")
    assert isinstance(offer, m.SfuOffer)
    return offer


async def test_standby_has_transports_and_no_media(house: House) -> None:
    ann = house.client("ann")
    await ann.enter()
    offer = ann.last("sfu.offer")
    assert offer.consumers == []
    assert len(parse_untrusted(offer.sdp).media) == 1
    send, recv = house.transport(ann, "send"), house.transport(ann, "recv")
    assert send.remote is not None
    assert recv.remote is not None
    assert send.producers == []
    assert recv.consumers == []
    assert house.recorder.of(changes.ParticipantSfu) == []


async def test_the_third_gets_producers_and_consumers_at_once(house: House) -> None:
    ann, bob, cid = house.client("ann"), house.client("bob"), house.client("cid")
    await ann.enter()
    await bob.enter()
    await ann.swap(bob)
    await bob.swap(ann)
    await cid.join()
    # With the join: the others' producers, their consumers of each other, and all of it in cid's first offer.
    for one, other in ((ann, bob), (bob, ann)):
        assert set(house.transport(one, "send").open_producers) == {"microphone", "camera"}
        offer = one.last("sfu.offer")
        assert {(c.participant_id, c.source) for c in offer.consumers} == {
            (other.pid, "microphone"), (other.pid, "camera"),
        }  # fmt: skip
    assert cid.count("sfu.offer") == 1
    offer = cid.last("sfu.offer")
    assert len(offer.consumers) == 4
    assert {c.mid for c in offer.consumers} == {section.mid for section in parse_untrusted(offer.sdp).media}
    # Answers let media flow.
    assert all(consumer.paused for consumer in house.transport(cid, "recv").open_consumers)
    await cid.answer_offer()
    assert not any(consumer.paused for consumer in house.transport(cid, "recv").open_consumers)
    # Cid publishes late: the others get an offer more, once they have answered the last one.
    await cid.publish()
    await settle()
    assert ann.count("sfu.offer") == 2  # the standby offer, and the one with bob
    await ann.answer_offer()
    assert {c.participant_id for c in ann.last("sfu.offer").consumers} == {bob.pid, cid.pid}


def first_offer() -> str:
    return send_offer(ufrag="clientufrag", pwd="p" * 24, fingerprint=CLIENT_FINGERPRINT)


async def test_one_who_publishes_as_it_joins_is_in_the_first_offers(house: House) -> None:
    ann, bob, cid = house.client("ann"), house.client("bob"), house.client("cid")
    for one in (ann, bob):
        result = await one.ask("call.join", m.CallJoin("room", sdp=first_offer()))
        assert result.published.transport_id == house.transport(one, "send").id
        await one.answer_offer()
    await ann.swap(bob)
    await bob.swap(ann)
    await cid.ask("call.join", m.CallJoin("room", sdp=first_offer()))
    for one, others in ((ann, (bob, cid)), (bob, (ann, cid)), (cid, (ann, bob))):
        offer = one.last("sfu.offer")
        assert {c.participant_id for c in offer.consumers} == {other.pid for other in others}
        assert one.count("sfu.offer") == (1 if one is cid else 2)
    # It is the same as what sfu.publish does: once more changes nothing.
    producers = house.transport(cid, "send").open_producers
    await cid.publish()
    assert house.transport(cid, "send").open_producers == producers


async def test_a_bad_offer_does_not_undo_the_join(house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    first = await ann.ask("call.join", m.CallJoin("room", sdp="nonsense"))
    assert first.published is None
    second = await bob.ask("call.join", m.CallJoin("room", sdp="nonsense"))
    assert (second.published, second.call.call_id) == (None, first.call.call_id)
    await bob.publish()


async def test_ids_are_recorded_when_and_only_when_in_sfu_mode(
    house: House, autojump_clock: MockClock
) -> None:
    ann, bob, cid = await three_on_the_sfu(house)
    switched = house.recorder.of(changes.SwitchedToSfu)[0]
    assert switched.sfu_room_id == house.router.id
    assert switched.sfu_rtp_capabilities["codecs"]
    by_id = {one.participant_id: one for one in switched.participants}
    for one in (ann, bob, cid):
        ids = by_id[one.pid]
        send = house.transport(one, "send")
        assert ids.send_transport_id == send.id
        assert ids.recv_transport_id == house.transport(one, "recv").id
        assert ids.audio_producer_id == send.open_producers["microphone"].id
        assert ids.video_producer_id == send.open_producers["camera"].id
        assert ids.screen_producer_id is None
    assert house.recorder.of(changes.ParticipantSfu) == []
    await ann.ask("participant.update", m.ParticipantUpdate(screen_share_enabled=True))
    await settle()
    fresh = house.recorder.of(changes.ParticipantSfu)[-1].ids
    assert fresh.screen_producer_id == house.transport(ann, "send").open_producers["screen"].id
    await cid.ask("call.leave")
    await trio.sleep(6)
    await ann.swap(bob)
    await bob.swap(ann)
    count = len(house.recorder.changes)
    await trio.sleep(4)
    assert house.recorder.changes[count:] == []
    assert house.transport(ann, "send").open_producers == {}
    assert house.transport(bob, "recv").open_consumers == []
    offer = await answer_all(bob)
    assert offer.consumers == []
    assert all(section.direction == "inactive" for section in parse_untrusted(offer.sdp).media)


async def test_a_screen_is_there_while_it_is_shared(house: House) -> None:
    ann, bob, _ = await three_on_the_sfu(house)
    await ann.ask("participant.update", m.ParticipantUpdate(screen_share_enabled=True))
    await settle()
    offer = await answer_all(bob)
    screen = next(c for c in offer.consumers if c.source == "screen")
    assert (screen.participant_id, screen.kind) == (ann.pid, "video")
    streams = {
        section.mid: section.msids[0].stream for section in parse_untrusted(offer.sdp).media if section.msids
    }
    camera = next(c for c in offer.consumers if (c.participant_id, c.source) == (ann.pid, "camera"))
    voice = next(c for c in offer.consumers if (c.participant_id, c.source) == (ann.pid, "microphone"))
    assert streams[camera.mid] == streams[voice.mid] != streams[screen.mid]
    await ann.ask("participant.update", m.ParticipantUpdate(screen_share_enabled=False))
    await settle()
    offer = await answer_all(bob)
    assert all(c.source != "screen" for c in offer.consumers)
    # The m-line is used again by the next screen.
    count = len(parse_untrusted(offer.sdp).media)
    await ann.ask("participant.update", m.ParticipantUpdate(screen_share_enabled=True))
    await settle()
    assert len(parse_untrusted((await answer_all(bob)).sdp).media) == count


async def test_one_who_leaves_takes_the_consumers_along(house: House) -> None:
    ann, bob, cid = await three_on_the_sfu(house)
    cid_pid = cid.pid
    await cid.ask("call.leave")
    await settle()
    for one in (ann, bob):
        offer = await answer_all(one)
        assert cid_pid not in {c.participant_id for c in offer.consumers}
        assert len(house.transport(one, "recv").open_consumers) == 2
    assert len(house.router.open_transports) == 4


async def test_a_newcomer_in_sfu_mode_needs_no_epoch(house: House) -> None:
    await three_on_the_sfu(house)
    dan = house.client("dan")
    state = await dan.enter()
    assert (state.mode, state.pending_epoch) == ("sfu", None)
    assert dan.count("epoch.prepare") == 0
    assert len(dan.last("sfu.offer").consumers) == 6
    await settle()
    assert house.recorder.of(changes.ParticipantSfu)[-1].ids.audio_producer_id is not None


@pytest.mark.parametrize("settings", [CallSettings(policy="sfu")])
async def test_policy_sfu_forwards_from_the_start(house: House) -> None:
    ann, bob = house.client("ann"), house.client("bob")
    await ann.enter()
    created = house.recorder.of(changes.CallCreated)[0]
    assert (created.mode, created.sfu_room_id) == ("sfu", house.router.id)
    await bob.enter()
    await settle()
    assert len(ann.last("sfu.offer").consumers) == 2
    assert house.recorder.of(changes.SwitchedToSfu) == []


async def test_answers_to_older_offers_are_ignored(house: House) -> None:
    ann, bob, cid = await three_on_the_sfu(house)
    await ann.ask("sfu.answer", m.SfuAnswer(1, "nonsense"))
    await cid.ask("call.leave")
    await settle()
    current = ann.last("sfu.offer")
    with pytest.raises(ClientError) as caught:
        await ann.ask("sfu.answer", m.SfuAnswer(current.offer_id, "nonsense"))
    assert caught.value.code == "bad_sdp"
    await ann.answer_offer()  # a good answer is still welcome
    assert bob.session.room is not None
    assert bob.session.room.sfu.outstanding_offer(ann.pid) is None


async def test_an_answered_offer_is_not_kept_for_a_resume_and_one_that_is_out_is(house: House) -> None:
    ann, _bob, cid = await three_on_the_sfu(house)
    assert not any(isinstance(said, m.SfuOffer) for said in replayed(ann.session))
    await cid.ask("call.leave")
    await settle()
    await ann.ask("sfu.answer", m.SfuAnswer(1, "nonsense"))  # to an older one, which counts for nothing
    assert ann.session.room is not None
    out = ann.session.room.sfu.outstanding_offer(ann.pid)
    assert [said for said in replayed(ann.session) if isinstance(said, m.SfuOffer)] == [out]


def replayed(session: Session) -> list[Any]:
    wire = Wire()
    session.rewind(0)
    session.attach(wire)
    return [said for _, said, _ in wire.got]


async def test_m_lines_that_are_refused_stay_silent(house: House) -> None:
    ann, _bob, _cid = await three_on_the_sfu(house)
    dan = house.client("dan")
    await dan.join()
    offer = dan.last("sfu.offer")
    refused = next(c for c in offer.consumers if c.source == "camera" and c.participant_id == ann.pid)
    await dan.answer_offer(reject=[refused.mid])
    paused = {c.mid for c in house.transport(dan, "recv").open_consumers if c.paused}
    assert paused == {refused.mid}


async def test_a_full_core_costs_the_newcomer_not_the_room(house: House) -> None:
    ann, _bob, _cid = await three_on_the_sfu(house)
    house.transport(ann, "recv").full = True
    dan = house.client("dan")
    await dan.join()
    await dan.answer_offer()
    await settle()
    assert ann.session.room is not None
    heard = {c.producer.source for c in house.transport(dan, "recv").open_consumers}
    assert heard >= {"microphone", "camera"}
    assert all(c.participant_id != dan.pid for c in ann.last("sfu.offer").consumers)


async def test_a_receiver_without_the_senders_codec_gets_none_of_it(house: House) -> None:
    await three_on_the_sfu(house)  # they send VP8
    dan = house.client("dan")
    await dan.join()
    await dan.answer_offer(without=["VP8"])
    paused = {c.producer.kind for c in house.transport(dan, "recv").open_consumers if c.paused}
    flowing = {c.producer.kind for c in house.transport(dan, "recv").open_consumers if not c.paused}
    assert (paused, flowing) == ({"video"}, {"audio"})


async def test_ice_restarts_of_both_connections(house: House) -> None:
    ann, _, _ = await three_on_the_sfu(house)
    send, recv = house.transport(ann, "send"), house.transport(ann, "recv")
    producers = send.open_producers
    ann.ufrag = "anotherufrag"
    result = await ann.publish()
    assert send.restarts == 1
    assert send.ice.username_fragment in result.sdp
    assert send.open_producers == producers
    await ann.publish()  # the same again restarts nothing
    assert send.restarts == 1
    offers = ann.count("sfu.offer")
    await ann.ask("sfu.restart", m.SfuRestart())
    await settle()
    assert recv.restarts == 1
    assert ann.count("sfu.offer") == offers + 1
    assert recv.ice.username_fragment in ann.last("sfu.offer").sdp
    await ann.answer_offer()
    assert not any(c.paused for c in recv.open_consumers)


async def test_a_send_connection_made_anew(house: House) -> None:
    ann, bob, _ = await three_on_the_sfu(house)
    old = house.transport(ann, "send")
    result = await ann.publish(OTHER_FINGERPRINT)
    await settle()
    new = house.transport(ann, "send")
    assert old.closed
    assert result.transport_id == new.id != old.id
    assert set(new.open_producers) == {"microphone", "camera"}
    offer = await answer_all(bob)
    assert {c.producer_id for c in offer.consumers if c.participant_id == ann.pid} == {
        one.id for one in new.open_producers.values()
    }
    assert house.recorder.of(changes.ParticipantSfu)[-1].ids.send_transport_id == new.id


@pytest.mark.parametrize("sdp", ["", "v=0", "v=0\r\no=- 1 1 IN IP4 0\r\ns=-\r\nt=0 0\r\n"])
async def test_a_bad_offer_changes_nothing(house: House, sdp: str) -> None:
    ann, _, _ = await three_on_the_sfu(house)
    send = house.transport(ann, "send")
    with pytest.raises(ClientError) as caught:
        await ann.ask("sfu.publish", m.SfuPublish(sdp))
    assert caught.value.code == "bad_sdp"
    assert not send.closed
    assert set(send.open_producers) == {"microphone", "camera"}


async def test_m_lines_in_another_order_are_refused(house: House) -> None:
    ann = house.client("ann")
    await ann.join()
    audio, video, screen = DEFAULT_TRACKS
    with pytest.raises(ClientError, match="order"):
        await ann.publish(tracks=(video, audio, screen))
    await ann.publish(tracks=(audio,))  # fewer are fine


async def test_key_frames_on_request(house: House) -> None:
    ann, bob, _ = await three_on_the_sfu(house)
    camera = next(
        c for c in ann.last("sfu.offer").consumers if (c.participant_id, c.source) == (bob.pid, "camera")
    )
    producer = house.transport(bob, "send").open_producers["camera"]
    before = producer.keyframes_asked
    await ann.ask("sfu.keyframe", m.SfuKeyframe(camera.consumer_id))
    assert producer.keyframes_asked == before + 1
    with pytest.raises(ClientError) as caught:
        await bob.ask("sfu.keyframe", m.SfuKeyframe(camera.consumer_id))  # of another's connection
    assert caught.value.code == "not_found"


async def test_an_sfu_that_is_wanted_again_goes_on_with_key_frames(
    house: House, autojump_clock: MockClock
) -> None:
    ann, bob, cid = await three_on_the_sfu(house)
    await cid.ask("call.leave")
    await trio.sleep(6)
    await ann.swap(bob)
    await bob.swap(ann)
    await trio.sleep(1)
    producer = house.transport(ann, "send").open_producers["camera"]
    before = producer.keyframes_asked
    await house.client("dan").join()
    assert not producer.closed
    assert producer.keyframes_asked > before
    await trio.sleep(4)
    assert not producer.closed


async def test_states_levels_and_the_speaker_are_told(house: House) -> None:
    ann, bob, cid = await three_on_the_sfu(house)
    house.transport(ann, "recv").become("connected", "tcp")
    house.transport(ann, "send").become("disconnected")
    await settle()
    told = [params for method, params, _ in ann.wire.got if method == "sfu.transport"]
    assert told == [
        m.TransportChanged("recv", "connected", "tcp"), m.TransportChanged("send", "disconnected", "udp"),
    ]  # fmt: skip
    assert bob.count("sfu.transport") == 0
    voice = house.transport(bob, "send").open_producers["microphone"]
    other = house.transport(cid, "send").open_producers["microphone"]
    house.router.speaker(voice)
    house.router.levels([(voice, -30.04), (other, -127.0)])
    await settle()
    assert ann.last("speaker") == m.ActiveSpeaker(bob.pid)
    assert ann.last("audio.levels") == m.AudioLevels({bob.pid: -30.0})
    house.router.levels([(voice, -127.0)])
    house.router.levels([(voice, -127.0)])
    await settle()
    house.router.levels([(voice, -127.0)])
    await settle()
    assert ann.count("audio.levels") == 2  # silence is told once
    seq = ann.session.seq
    ann.cut()
    house.router.levels([(voice, -20.0)])
    await settle()
    assert ann.session.seq == seq  # nobody listens: not kept for replay


async def test_a_state_of_a_transport_that_is_gone_is_nobodys(house: House) -> None:
    ann, _, cid = await three_on_the_sfu(house)
    gone = house.transport(cid, "send")
    await cid.ask("call.leave")
    gone.become("failed")
    await settle()
    assert cid.count("sfu.transport") == 0
    assert ann.session.room is not None
