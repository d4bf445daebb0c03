"""Real browsers in calls: how they are started, and what is asked of a page."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, ViewportSize

from tests.harness.fake_devices import write_camera, write_microphone

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
]

FIREFOX_PREFERENCES: dict[str, str | float | bool] = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.cubeb.force_mock_context": True,
}

# What a page shows and plays of each other participant, apart from the client's word.
_OBSERVE = """() => {
  const counts = (window.presentedFrames ??= new WeakMap());
  const count = (video) => {
    const presented = () => {
      counts.set(video, counts.get(video) + 1);
      video.requestVideoFrameCallback(presented);
    };
    if (!counts.has(video)) {
      counts.set(video, 0);
      video.requestVideoFrameCallback(presented);
    }
    return counts.get(video);
  };
  const seen = {};
  for (const video of document.querySelectorAll('video[data-participant-id]')) {
    const { participantId, source, path, active } = video.dataset;
    const one = (seen[participantId] ??= { cameras: 0, audible: 0, screen: null, camera: null });
    if (source === 'camera') {
      one.cameras += 1;
      const audio = video.srcObject?.getAudioTracks().some((track) => track.readyState === 'live') ?? false;
      if (!video.muted && !video.paused && audio) one.audible += 1;
    }
    if (active === 'true') {
      one[source] = { path, width: video.videoWidth, frames: count(video), paused: video.paused };
    }
  }
  return seen;
}"""


def chromium_path() -> str:
    return _require("chromium", "chromium-browser", "google-chrome")


def firefox_path() -> str:
    return _require("firefox-esr", "firefox")


def _require(*names: str) -> str:
    for name in names:
        if path := shutil.which(name):
            return path
    raise AssertionError(f"{names[0]} is not installed: sh tests/harness/install_browsers.sh says what to do")


def launch_chromium(playwright: Playwright, folder: Path) -> Browser:
    camera = write_camera(folder / "camera.y4m")
    microphone = write_microphone(folder / "microphone.wav")
    files = [f"--use-file-for-fake-video-capture={camera}", f"--use-file-for-fake-audio-capture={microphone}"]
    return playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_FLAGS + files)


def launch_firefox(playwright: Playwright) -> Browser:
    return playwright.firefox.launch(
        channel="moz-firefox", executable_path=firefox_path(), firefox_user_prefs=FIREFOX_PREFERENCES
    )


class Caller:
    """One participant: a page in a context of its own."""

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.name = name
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.page.evaluate("() => window.tandem.state()")
        return state

    @property
    def id(self) -> str:
        return str(self.state()["participantId"])

    def observe(self) -> dict[str, Any]:
        """What is seen and heard: {participant id: {cameras, audible, camera, screen}}."""
        seen: dict[str, Any] = self.page.evaluate(_OBSERVE)
        return seen

    def wait(
        self, what: str, holds: Callable[[dict[str, Any]], bool], timeout_s: float = 10
    ) -> dict[str, Any]:
        """Wait until `holds(state)`; `what` is for the message when it never does."""
        deadline = time.monotonic() + timeout_s
        while True:
            state = self.state()
            if holds(state):
                return state
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name}: no {what} in {timeout_s} s: {state} {self.errors}")
            self.page.wait_for_timeout(50)

    def wait_mode(self, mode: str, present: int, timeout_s: float = 15) -> dict[str, Any]:
        """Wait until everybody else's media comes by `mode`."""

        def holds(state: dict[str, Any]) -> bool:
            others = [one for one in state["participants"] if not one["self"]]
            paths = {one["path"] for one in others}
            return state["mode"] == mode and len(others) == present - 1 and paths == {mode}

        return self.wait(f"{mode} with {present}", holds, timeout_s)

    def wait_playing(self, others: int, timeout_s: float = 10) -> dict[str, Any]:
        """Wait until `others` participants are each seen moving, and heard once."""
        deadline = time.monotonic() + timeout_s
        before = self.observe()
        while True:
            self.page.wait_for_timeout(200)
            now = self.observe()
            if len(now) == others and all(_plays(now[one], before.get(one)) for one in now):
                return now
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name}: not all are seen and heard: {before} then {now}")

    def call(self, expression: str) -> Any:
        return self.page.evaluate(f"() => window.tandem.{expression}")

    def leave(self) -> None:
        self.page.evaluate("() => window.tandem.leave()")

    def close(self) -> None:
        self.page.context.close()


def _plays(now: dict[str, Any], before: dict[str, Any] | None) -> bool:
    camera, earlier = now["camera"], (before or {}).get("camera")
    return bool(
        camera
        and earlier
        and camera["width"] > 0
        and camera["frames"] > earlier["frames"]
        and now["audible"] == 1
    )


class Callers:
    """Opens pages; closes all at the end."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = url
        self._contexts: list[BrowserContext] = []

    def join(
        self,
        room: str,
        name: str,
        *,
        init_script: str | None = None,
        url: str | None = None,
        viewport: tuple[int, int] = (800, 600),
        **query: str,
    ) -> Caller:
        """A new participant, joining without a click."""
        size = ViewportSize(width=viewport[0], height=viewport[1])
        context = self.browser.new_context(viewport=size, ignore_https_errors=True)
        self._contexts.append(context)
        page = context.new_page()
        if init_script:
            page.add_init_script(init_script)
        caller = Caller(page, name)
        parameters = urlencode({"room": room, "name": name, "autojoin": "1", **query})
        page.goto(f"{url or self.url}?{parameters}", wait_until="commit")
        page.wait_for_function("() => window.tandem !== undefined")
        return caller

    def close(self) -> None:
        for context in self._contexts:
            with contextlib.suppress(Exception):  # closed by the test itself
                context.close()


@contextlib.contextmanager
def callers(browser: Browser, url: str) -> Iterator[Callers]:
    opened = Callers(browser, url)
    try:
        yield opened
    finally:
        opened.close()
