"""A camera and a microphone for Chromium's `--use-file-for-fake-…-capture`: moving, audible, cheap."""

from __future__ import annotations

import array
import math
import wave
from pathlib import Path

WIDTH, HEIGHT, FPS = 320, 180, 15
_FRAMES = 60  # four seconds, then it loops
_RATE = 48_000
_SECONDS = 4


def write_camera(path: Path) -> Path:
    """A y4m file: a bright square that circles over a gradient, so that no frame is like the one before."""
    gradient = bytes(48 + (x * 96) // WIDTH for x in range(WIDTH))
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FPS}:1 Ip A1:1 C420jpeg\n".encode())
        for index in range(_FRAMES):
            angle = 2 * math.pi * index / _FRAMES
            left = int(WIDTH / 2 + 100 * math.cos(angle)) - 20
            top = int(HEIGHT / 2 + 60 * math.sin(angle)) - 20
            square = gradient[:left] + b"\xeb" * 40 + gradient[left + 40 :]
            rows = [square if top <= y < top + 40 else gradient for y in range(HEIGHT)]
            hue = 128 + int(40 * math.sin(angle))
            chroma = WIDTH // 2 * (HEIGHT // 2)
            file.write(b"FRAME\n" + b"".join(rows) + bytes([hue]) * chroma + bytes([255 - hue]) * chroma)
    return path


def write_microphone(path: Path) -> Path:
    """A wav file: a chord of whole periods only, so that it loops without a click and is never silent."""
    tones = [(220.0, 0.25), (330.0, 0.15), (495.0, 0.1)]
    samples = array.array("h")
    for index in range(_RATE * _SECONDS):
        at = index / _RATE
        swell = 0.75 + 0.25 * math.sin(2 * math.pi * at / _SECONDS * 2)
        samples.append(
            int(32_000 * swell * sum(gain * math.sin(2 * math.pi * hz * at) for hz, gain in tones))
        )
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes(samples.tobytes())
    return path
