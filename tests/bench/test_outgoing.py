"""What the load's cameras and microphones put on the wire: sizes, bitrates, key frames."""

from __future__ import annotations

import pytest
from bench.native.outgoing import Stream
from hypothesis import given
from hypothesis import strategies as st

STAMPED = 34  # bytes that every payload has


@given(st.integers(1, 200_000), st.integers(100, 1224))
def test_a_frame_is_cut_as_libwebrtc_does(frame: int, most: int) -> None:
    _, sizes = Stream(video=True, frame_bytes=frame, payload_max=most).next_frame()
    assert all(size <= most for size in sizes)
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes)  # the larger ones last
    assert len(sizes) <= 48
    assert len(sizes) == 1 or sum(sizes) > most * (len(sizes) - 1)


@pytest.mark.parametrize("kbps", [150, 500, 4000])
def test_the_bitrate_is_right_on_average(kbps: int) -> None:
    every, factor = 60, 5
    frame = int(kbps * 1000 / 8 / 30 * every / (every - 1 + factor))
    camera = Stream(video=True, frame_bytes=frame, payload_max=1200, key_factor=factor, key_every=every)
    sent = sum(sum(camera.next_frame()[1]) for _ in range(30 * 60))
    assert sent * 8 / 60 == pytest.approx(kbps * 1000, rel=0.05)


def test_key_frames_come_in_their_turn_and_when_asked_for() -> None:
    camera = Stream(video=True, frame_bytes=1000, payload_max=1200, key_factor=5, key_every=30)
    keys = [camera.next_frame()[0] for _ in range(61)]
    assert [at for at, key in enumerate(keys) if key] == [0, 30, 60]
    camera.want_key()
    assert camera.next_frame()[0]
    assert not any(camera.next_frame()[0] for _ in range(29))  # the turn is counted anew
    assert camera.next_frame()[0]


def test_a_microphone_has_no_key_frames_and_one_packet_a_frame() -> None:
    microphone = Stream(video=False, frame_bytes=80, payload_max=1200)
    frames = [microphone.next_frame() for _ in range(100)]
    assert not any(key for key, _ in frames)
    assert {len(sizes) for _, sizes in frames} == {1}
    assert all(STAMPED <= sizes[0] <= 100 for _, sizes in frames)


def test_the_same_seed_makes_the_same_stream() -> None:
    def some(seed: int) -> list[list[int]]:
        camera = Stream(video=True, frame_bytes=5000, payload_max=1200, seed=seed)
        return [camera.next_frame()[1] for _ in range(20)]

    assert some(3) == some(3)
    assert some(3) != some(4)
