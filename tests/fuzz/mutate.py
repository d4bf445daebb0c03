"""Seeded inputs for fuzz targets: random bytes, and mutations of each target's own seeds (`SEEDS`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

INTERESTING = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 191, 192, 200, 254, 255)


def mutate(random: Random, data: bytes) -> bytes:
    """One to eight edits: flips, interesting bytes, cuts, repeats, insertions, 16-bit extremes."""
    out = bytearray(data)
    for _ in range(random.randint(1, 8)):
        if not out:
            out += random.randbytes(random.randint(1, 16))
        at = random.randrange(len(out))
        match random.randrange(7):
            case 0:
                out[at] ^= 1 << random.randrange(8)
            case 1:
                out[at] = random.choice(INTERESTING)
            case 2:
                del out[at : at + random.randint(1, 8)]
            case 3:
                out[at:at] = random.randbytes(random.randint(1, 8))
            case 4:
                out[at:at] = out[at : at + random.randint(1, 32)]
            case 5:
                del out[at:]
            case 6:
                out[at : at + 2] = random.choice((b"\x00\x00", b"\xff\xff", b"\x7f\xff", b"\x80\x00"))
    return bytes(out)


def inputs(random: Random, seeds: Sequence[bytes], *, count: int) -> Iterator[bytes]:
    """The seeds themselves, then `count` inputs, most of them mutated seeds."""
    yield b""
    yield from seeds
    for _ in range(count):
        if seeds and random.random() < 0.85:
            yield mutate(random, random.choice(seeds))
        else:
            yield random.randbytes(random.choice((1, 2, 4, 8, 12, 20, 28, 64, 200, 1200, 1500)))
