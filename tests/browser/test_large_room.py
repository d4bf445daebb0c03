"""The page in a room of more people than it can show."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser

from bench.load.member import Member
from bench.load.throng import Throng
from server.rtc.certificate import Certificate
from tests.harness.browsers import Callers, callers
from tests.harness.postgres import public_dir
from tests.harness.server_process import ServerProcess

LISTENERS = 60


@pytest.fixture(scope="module")
def large_server() -> Iterator[ServerProcess]:
    with public_dir() as folder:
        settings = ["--set", "call.max_participants=200", "--set", "call.resume_grace_s=2"]
        server = ServerProcess(folder / "data", *settings).start()
        yield server
        server.stop()


@pytest.fixture
def pages(chromium: Browser, large_server: ServerProcess) -> Iterator[Callers]:
    with callers(chromium, large_server.url) as these:
        yield these


def test_who_has_no_place_is_counted(pages: Callers, large_server: ServerProcess) -> None:
    ann = pages.join("large", "Ann")
    bob = pages.join("large", "Bob")
    cid = pages.join("large", "Cid", audio="0", video="0")
    for one in (ann, bob):
        one.wait_mode("sfu", 3)
    certificate = Certificate.generate(time.time())
    url = large_server.url.replace("http", "ws", 1) + "ws"
    with ExitStack() as stack:
        members = [stack.enter_context(Member(url, certificate, [], [])) for _ in range(LISTENERS)]
        with Throng(members, "large") as throng:
            throng.go(4)
            everybody = LISTENERS + 3
            state = ann.wait("all of them", lambda now: len(now["participants"]) == everybody, 30)
            assert throng.failures == []
            assert state["mode"] == "sfu"
            ann.page.wait_for_function("() => document.querySelector('.tile.more')")
            shown = ann.page.locator(".tile:visible").count()
            assert 9 <= shown <= 36
            assert ann.page.locator(".tile.more").inner_text() == f"+{everybody - (shown - 1)}"
            seen = ann.page.locator(".tile:visible .tile-name").all_inner_texts()
            assert {"Bob", "Ann (you)"} <= set(seen)  # who sends a picture goes before who sends nothing
            # It is heard and seen as in a small room, and the page has time for it.
            bob_id = bob.id
            before = ann.observe()[bob_id]["camera"]["frames"]
            ann.page.wait_for_timeout(1000)
            now = ann.observe()[bob_id]
            assert now["camera"]["frames"] > before
            assert now["audible"] == 1
            assert max(ann.page.evaluate(_DELAYS)) < 500
            throng.cut(members[:-2])
            ann.wait("few of them", lambda now: len(now["participants"]) == 5, 20)
    ann.page.wait_for_function("() => !document.querySelector('.tile.more')")
    assert cid.errors == ann.errors == bob.errors == []


# How late timers come, in ms, over a second.
_DELAYS = """async () => {
  const late = [];
  for (let last = performance.now(), end = last + 1000; last < end; ) {
    await new Promise((done) => setTimeout(done, 10));
    const now = performance.now();
    late.push(now - last - 10);
    last = now;
  }
  return late;
}"""


def person(name: str, **more: Any) -> dict[str, Any]:
    silent = {"self": False, "speaking": False, "screenShareEnabled": False}
    return {"participantId": name, "audioEnabled": False, "videoEnabled": False, **silent, **more}


@pytest.mark.parametrize(
    ("people", "before", "shown"),
    [
        ([person("a"), person("b")], [], ["a", "b"]),
        ([person("a"), person("b"), person("me", self=True), person("c")], [], ["a", "me"]),
        ([person("a"), person("b"), person("c", videoEnabled=True), person("d")], [], ["a", "c"]),
        ([person("a"), person("b", audioEnabled=True), person("c"), person("d")], ["c"], ["b", "c"]),
        ([person("a", videoEnabled=True), *map(person, "bc"), person("d", speaking=True)], [], ["a", "d"]),
        ([person("a"), person("b"), person("c"), person("d")], ["d", "c"], ["c", "d"]),
    ],
)  # fmt: skip
def test_who_gets_a_place(
    pages: Callers, people: list[dict[str, Any]], before: list[str], shown: list[str]
) -> None:
    page = pages.join("choosing", "Ann").page
    found = page.evaluate(
        """async ([people, before]) => {
          const { choose } = await import("/page/choose.js");
          return choose(people, 3, new Set(before));
        }""",
        [people, before],
    )
    assert [one["participantId"] for one in found["shown"]] == shown
    assert found["more"] == len(people) - len(shown)
