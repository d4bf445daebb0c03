from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import ClientError
from server.session.captions import BURST, KEPT, captions_of
from server.session.settings import CallSettings
from server.signaling import messages as m
from tests.session.world import World


def call(captions: str | None, default: Any = "relay") -> World:
    """Ann and Bob in a call whose settings say this of captions."""
    settings = None if captions is None else {"captions": captions, "theirs": 1}
    world = World(settings=CallSettings(captions=default), of_call=settings)
    world.join("bob")
    return world


def say(world: World, who: str, text: str, segment: str = "s1", **more: Any) -> None:
    world.call.caption(world.id(who), m.CaptionSend(segment, text, **more), world.now)
    world.run()


def heard(world: World, who: str) -> list[tuple[str, str, bool]]:
    got = [params for name, params in world.client(who).got if name == "call.caption"]
    return [(one.segment_id, one.text, one.is_final) for one in got if isinstance(one, m.Caption)]


@pytest.mark.parametrize("mode", ["relay", "store"])
def test_the_others_read_what_one_says_and_the_final_is_kept_if_the_call_keeps(mode: str) -> None:
    world = call(mode)
    say(world, "ann", "hel")
    world.advance(1.5)
    say(world, "ann", " hello \n", is_final=True, language="en", confidence=0.9)
    assert heard(world, "bob") == [("s1", "hel", False), ("s1", "hello", True)]
    assert heard(world, "ann") == []
    told = world.client("bob").last("call.caption")
    assert told.participant_id == world.id("ann")
    assert (told.ended_at - told.started_at, told.ended_at) == (1500, round(world.now * 1000))
    kept = world.rows.captions
    if mode == "relay":
        assert kept == []
        return
    [row] = kept
    assert (row.participant_id, row.text, row.language, row.confidence, row.segment_id) == (
        (world.id("ann"), "hello", "en", 0.9, "s1")
    )
    assert (row.started_at, row.ended_at) == (world.now - 1.5, world.now)


def test_a_final_caption_that_comes_again_changes_nothing() -> None:
    world = call("store")
    for text in ("hello", "hello", "goodbye"):
        say(world, "ann", text, is_final=True)
    say(world, "ann", "late", is_final=False)
    assert heard(world, "bob") == [("s1", "hello", True)]
    assert [one.text for one in world.rows.captions] == ["hello"]


def test_segments_are_their_speakers_own() -> None:
    world = call("store")
    say(world, "ann", "hello", is_final=True)
    say(world, "bob", "hi", is_final=True)
    assert [one.text for one in world.rows.captions] == ["hello", "hi"]
    assert heard(world, "ann") == [("s1", "hi", True)]


def test_who_comes_again_counts_segments_anew() -> None:
    world = call("store")
    say(world, "bob", "before", is_final=True)
    world.join("bob", "elsewhere")
    say(world, "bob", "after", is_final=True)
    assert [one.text for one in world.rows.captions] == ["before", "after"]


@pytest.mark.parametrize(
    ("captions", "default", "mode"),
    [(None, "off", "off"), (None, "relay", "relay"), (None, "store", "store"), ("off", "store", "off"),
     ("store", "off", "store")],
)  # fmt: skip
def test_what_the_call_says_is_before_what_the_server_says(captions: Any, default: Any, mode: str) -> None:
    world = call(captions, default)
    assert world.call.snapshot(world.id("ann")).captions == mode
    if mode == "off":
        with pytest.raises(ClientError) as refused:
            say(world, "ann", "hello", is_final=True)
        assert refused.value.code == "captions_off"
        assert heard(world, "bob") == []
        assert world.rows.captions == []


@pytest.mark.parametrize("said", ["on", "", None, 1, ["store"], {"store": True}])
def test_settings_that_are_no_choice_are_refused(said: Any) -> None:
    with pytest.raises(ClientError) as refused:
        captions_of({"captions": said}, "relay")
    assert (refused.value.code, refused.value.field) == ("invalid", "settings.captions")


def test_the_rate_is_bounded_for_each_speaker() -> None:
    world = call("relay")
    for n in range(int(BURST)):
        say(world, "ann", "word", f"s{n}")
    with pytest.raises(ClientError) as refused:
        say(world, "ann", "word")
    assert refused.value.code == "rate_limited"
    assert refused.value.data == {"retryAfterMs": 101}
    say(world, "bob", "word")
    world.advance(0.101)
    say(world, "ann", "word", "next")
    assert len(heard(world, "bob")) == BURST + 1
    world.advance(100.0)
    for n in range(10):
        say(world, "ann", "sentence", f"f{n}", is_final=True)
    with pytest.raises(ClientError) as refused:
        say(world, "ann", "sentence", "one too many", is_final=True)
    assert refused.value.data == {"retryAfterMs": 401}


def test_few_segments_are_remembered() -> None:
    world = call("relay")
    for n in range(3 * KEPT):
        world.advance(0.5)
        say(world, "ann", "word", f"s{n}", is_final=True)
    assert len(world.call._captions._speakers[world.id("ann")].segments) == KEPT


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (-2.0, -1.0, (-2.0, -1.0)),
        (None, -1.0, (-1.0, -1.0)),  # heard of only now
        (-1.0, None, (-1.0, 0.0)),
        (-5000.0, 9.0, (-600.0, 0.0)),  # a clock that is ahead, and far too long a segment
        (9.0, -3.0, (-3.0, -3.0)),
        (-99999.0, -99999.0, (-1000.0, -1000.0)),  # before the speaker was there
    ],
)
def test_times_are_as_the_client_says_as_far_as_they_can_be(
    start: float | None, end: float | None, expected: tuple[float, float]
) -> None:
    world = call("store")
    world.advance(1000.0)

    def ms(at: float | None) -> int | None:
        return None if at is None else round((world.now + at) * 1000)

    say(world, "ann", "word", is_final=True, started_at=ms(start), ended_at=ms(end))
    [row] = world.rows.captions
    assert (row.started_at - world.now, row.ended_at - world.now) == expected


@given(st.none() | st.integers(0, 2**53), st.none() | st.integers(0, 2**53), st.floats(0, 5000))
def test_no_clock_of_a_client_puts_a_caption_out_of_the_call(
    start: int | None, end: int | None, later: float
) -> None:
    world = call("store")
    joined = world.now
    world.advance(later)
    say(world, "ann", "word", is_final=True, started_at=start, ended_at=end)
    [row] = world.rows.captions
    assert joined <= row.started_at <= row.ended_at <= world.now


def test_a_blank_caption_is_refused() -> None:
    world = call("relay")
    with pytest.raises(ClientError) as refused:
        say(world, "ann", " \n ")
    assert (refused.value.code, refused.value.field) == ("invalid", "text")


def test_another_name_is_kept() -> None:
    world = call("relay")
    world.call.update(world.id("ann"), m.ParticipantUpdate(name="Dr Ann"), world.now)
    world.call.update(world.id("ann"), m.ParticipantUpdate(name="Dr Ann", audio_enabled=True), world.now)
    world.run()
    assert world.rows.renamed == [(world.id("ann"), "Dr Ann")]
