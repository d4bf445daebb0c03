"""What does a switch between P2P and the SFU cost those who are in the call?

Two people talk in real, headless Chromium; a third joins (to the SFU) and leaves (back to P2P), ten times.
Told for each switch: its duration, the longest time without a new video frame, concealed audio, and for how
long anybody was heard twice. The first three are what clients measured and the server stored; the last is
sampled in the pages every 5 ms, apart from the client's own word.

From the checkout: python -m bench.switch [--rounds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.harness.browsers import Caller, Callers, callers, launch_chromium
from tests.harness.server_process import ServerProcess

LIMITS = {"durationMs": 1500.0, "maxVideoGapMs": 250.0, "maxAudioGapMs": 60.0, "heardTwiceMs": 0.0}

_SAMPLER = """
window.heardTwiceMs = 0;
let last = performance.now();
setInterval(() => {
  const now = performance.now(), audible = {};
  for (const video of document.querySelectorAll('video[data-source="camera"]')) {
    if (!video.dataset.participantId || video.muted || video.paused) continue;
    if (!video.srcObject?.getAudioTracks().length) continue;
    audible[video.dataset.participantId] = (audible[video.dataset.participantId] ?? 0) + 1;
  }
  if (Object.values(audible).some((count) => count > 1)) window.heardTwiceMs += now - last;
  last = now;
}, 5);
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chmod(folder, 0o755)
        # One back-off for all rounds: a call that flaps is otherwise held longer and longer in the SFU.
        delays = ["--set", "call.back_to_p2p_delay_s=4", "--set", "call.back_to_p2p_max_delay_s=4"]
        server = ServerProcess(folder / "data", *delays)
        server.start()
        try:
            with sync_playwright() as playwright:
                browser = launch_chromium(playwright, folder)
                with callers(browser, server.url) as opened:
                    switches = measure(opened, args.rounds)
                version = browser.version
                browser.close()
        finally:
            server.stop()
    return report(switches, version, args.json)


def measure(opened: Callers, rounds: int) -> list[dict[str, Any]]:
    room = f"switch-{int(time.time())}"
    stay = [opened.join(room, name, init_script=_SAMPLER) for name in ("Ada", "Ben")]
    for one in stay:
        one.wait_mode("p2p", 2)
    for one in stay:
        one.wait_playing(1)
    rows: list[dict[str, Any]] = []
    for number in range(1, rounds + 1):
        third = opened.join(room, "Cleo", init_script=_SAMPLER)
        everybody = [*stay, third]
        for one in everybody:
            one.wait_mode("sfu", 3)
        rows.append(_settled(everybody, number, 2 * number - 1))
        third.leave()
        third.close()
        for one in stay:
            one.wait_mode("p2p", 2, 30)
        rows.append(_settled(stay, number, 2 * number))
        print_row(rows[-2])
        print_row(rows[-1])
    return rows


def _settled(everybody: list[Caller], number: int, count: int) -> dict[str, Any]:
    """The newest switch, when its cost has been told: two seconds after the swap, by the last client."""
    first = everybody[0]
    first.page.wait_for_timeout(2_600)
    state = first.wait(
        "measured switch",
        lambda now: len(now["switches"]) >= count and now["switches"][-1]["maxAudioGapMs"] is not None,
    )
    twice = 0.0
    for one in everybody:
        twice += one.page.evaluate(
            "() => { const ms = window.heardTwiceMs; window.heardTwiceMs = 0; return ms; }"
        )
    return {"round": number, **state["switches"][-1], "heardTwiceMs": twice}


def print_row(row: dict[str, Any]) -> None:
    if row["round"] == 1 and row["to"] == "sfu":
        print("round  switch     duration   video gap   audio gap   heard twice   (ms; * is over the limit)")
    cells = [f"{_figure(row, key):>11}" for key in LIMITS]
    print(f"{row['round']:5}  {row['from']}→{row['to']}{''.join(cells)}", flush=True)


def _figure(row: dict[str, Any], key: str) -> str:
    value = row[key]
    if value is None:
        return "-"
    return f"{value:.0f}{'*' if value > LIMITS[key] else ' '}"


def report(rows: list[dict[str, Any]], version: str, file: str | None) -> int:
    worst = {key: max((row[key] or 0.0) for row in rows) for key in LIMITS}
    over = {key: sum((row[key] or 0.0) > limit for row in rows) for key, limit in LIMITS.items()}
    missing = sum(row["maxVideoGapMs"] is None or row["maxAudioGapMs"] is None for row in rows)
    print(
        f"worst of {len(rows)}: "
        + ", ".join(f"{key} {worst[key]:.0f} (limit {LIMITS[key]:.0f})" for key in LIMITS)
    )
    if file:
        figures = {
            "bench": "switch",
            "browser": f"Chromium {version}",
            "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
            "at": int(time.time()),
            "limits": LIMITS,
            "worst": worst,
            "over": over,
            "switches": rows,
        }
        Path(file).write_text(json.dumps(figures, indent=2) + "\n")
    return 1 if any(over.values()) or missing else 0


if __name__ == "__main__":
    sys.exit(main())
