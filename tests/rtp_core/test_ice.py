"""How many checks a transport, and all together, may have looked at; and whom a flood of them harms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness import stun
from tests.rtp_core.world import Client, World, address

EACH_US, BURST = 5_000, 100
ALL_EACH_US, ALL_BURST = 50, 100
CALM_US = 500_000


@pytest.fixture
def world() -> World:
    return World()


def answered(client: Client) -> int:
    return sum(answer.type == stun.BINDING_SUCCESS for answer in client.answers)


def limited(world: World) -> int:
    return int(world.core.counters()["checks_limited"])


def connected(world: World, name: str, port: int) -> Client:
    """Long enough ago that nothing of its allowance is missing."""
    client = Client(world, name, port=port)
    world.run(1.0, tick_us=100_000)
    client.answers.clear()
    return client


@pytest.mark.parametrize("pace", [EACH_US, 20_000, 50_000])  # RFC 8445's least; what agents do
def test_an_honest_agent_is_always_answered(world: World, pace: int) -> None:
    client = connected(world, "a", 1)
    for _ in range(600):
        world.now += pace
        client.check()
    assert (answered(client), limited(world)) == (600, 0)


def test_all_pairs_at_once_are_answered(world: World) -> None:
    """As after a time in which nothing came through."""
    client = connected(world, "a", 1)
    for port in range(1, BURST + 1):
        client.move("192.0.2.1", port)
        client.check()
    assert (answered(client), limited(world)) == (BURST, 0)


def test_more_is_dropped_and_counted(world: World) -> None:
    client = connected(world, "a", 1)
    for _ in range(1000):
        client.check()
    assert (answered(client), limited(world)) == (BURST, 1000 - BURST)
    world.now += 10 * EACH_US
    for _ in range(1000):
        client.check()
    assert answered(client) == BURST + 10


def test_whoever_floods_keeps_others_answered(world: World) -> None:
    hostile, other = connected(world, "a", 1), connected(world, "b", 2)
    for _ in range(1000):
        hostile.check()
        hostile.send(stun.encode(stun.Message(stun.BINDING_INDICATION)))
    for _ in range(ALL_BURST // 2):
        world.now += EACH_US
        other.check()
    assert answered(other) == ALL_BURST // 2


def test_wrong_integrity_takes_nothing_of_the_allowance(world: World) -> None:
    """Anybody on the way sees the user fragment."""
    client = connected(world, "a", 1)
    client.move("198.51.100.9", 9)
    for _ in range(1000):
        client.check(password="not the password")
    client.move("192.0.2.1", 1)
    for _ in range(BURST):
        client.check()
    assert answered(client) == BURST


def test_repeated_checks_from_elsewhere_do_not_take_consent(world: World) -> None:
    client = connected(world, "a", 1)
    request = stun.Message(stun.BINDING_REQUEST)
    request.attributes = [(stun.USERNAME, f"{client.ufrag}:far".encode()), (stun.ICE_CONTROLLING, bytes(8))]
    seen = stun.encode(request, password=client.password)
    for beat in range(12_000):
        world.now += 5_000
        for port in range(3):
            world.core.receive(world.now, address("198.51.100.9", (beat + port * 7) % 50), seen)
        if beat % 1000 == 0:
            client.check()
            world.step()
    assert limited(world) > 12_000
    assert answered(client) == 12
    assert [event[2] for event in world.of("state")] == ["connected"]


def test_many_hostile_transports_share_what_all_have(world: World) -> None:
    hostile = [Client(world, f"h{number}", port=10 + number) for number in range(40)]
    calm = connected(world, "a", 1)
    for one in hostile:
        one.answers.clear()
        for _ in range(BURST):
            one.check()
    # A path's first check after a calm time is answered in any case.
    assert sum(map(answered, hostile)) <= ALL_BURST + len(hostile)
    assert all(map(answered, hostile))
    world.now += CALM_US
    for one in hostile:
        for _ in range(BURST):
            one.check()
    calm.check()
    assert answered(calm) == 1


def test_new_client_connects_while_all_is_taken(world: World) -> None:
    hostile = [connected(world, f"h{number}", 10 + number) for number in range(20)]
    for one in hostile:
        for _ in range(BURST):
            one.check()
    fresh = Client(world, "a", port=1, connect=False)
    world.step()
    fresh.check()
    world.step()
    assert answered(fresh) == 1
    assert world.core.channel_of(fresh.handle) == 0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),  # whose
            st.integers(0, 12),  # from which of its ports
            st.sampled_from([0, 1, 10, 49, 50, 4_999, 5_000, 100_000, 499_999, 500_000, 5_000_000]),
            st.integers(1, 150),  # how many
        ),
        max_size=25,
    )
)
def test_bounds_hold_for_any_schedule(bursts: list[tuple[int, int, int, int]]) -> None:
    world = World()
    clients = [connected(world, f"c{number}", 100 * number) for number in range(3)]
    began, before = world.now, 0
    heard = {(number, 100 * number): world.now for number in range(3)}
    exempt = [0, 0, 0]
    for number, port, wait, count in bursts:
        world.now += wait
        client, place = clients[number], (number, 100 * number + port)
        client.move("192.0.2.1", place[1])
        calm = place in heard and world.now - heard[place] >= CALM_US
        exempt[number] += calm or place not in heard
        before = answered(client)
        for _ in range(count):
            client.check(nominate=False)
        if calm and port == 0:  # the selected path is never forgotten for others
            assert answered(client) > before
        if answered(client) > before:
            heard[place] = world.now
    passed = world.now - began
    for client, extra in zip(clients, exempt, strict=True):
        assert answered(client) <= BURST + passed // EACH_US + 1 + extra
    assert sum(map(answered, clients)) <= ALL_BURST + passed // ALL_EACH_US + 1 + sum(exempt)
    assert sum(map(answered, clients)) + limited(world) == sum(count for *_, count in bursts)
