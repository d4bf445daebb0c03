"""Captions: what one page's user says is read on the other page, and kept where the call keeps it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.harness.browsers import Callers, callers
from tests.harness.postgres import public_dir
from tests.harness.server_process import ServerProcess

# A recogniser whose words the test says: window.hear(text, isFinal).
_RECOGNISER = """
window.SpeechRecognition = window.webkitSpeechRecognition = class {
  start() { this.results = []; window.hear = (text, isFinal) => {
    const last = this.results.length - 1;
    const at = last >= 0 && !this.results[last].isFinal ? last : last + 1;
    this.results[at] = Object.assign([{ transcript: text, confidence: 0.75 }], { isFinal });
    this.onresult({ resultIndex: at, results: this.results });
  }; }
  stop() { window.hear = null; this.onend?.(); }
};
"""
_SAID = """
    SELECT t.text, t.language, t.confidence, t."isFinal", p."displayName" AS who
      FROM call_transcriptions t JOIN call_participants p ON p.id = t."participantId"
      JOIN call_sessions s ON s.id = t."callSessionId" WHERE s."roomId" = $1 ORDER BY t."createdAt"
"""


@pytest.fixture
def keeping_server() -> Iterator[ServerProcess]:
    with public_dir() as folder:
        server = ServerProcess(Path(folder) / "data", "--set", "call.captions=store").start()
        yield server
        server.stop()


@pytest.fixture
def kept(chromium: Browser, keeping_server: ServerProcess) -> Iterator[Callers]:
    with callers(chromium, keeping_server.url) as these:
        yield these


def test_what_one_says_is_read_by_the_other_and_kept(
    kept: Callers, keeping_server: ServerProcess, room: str
) -> None:
    ada, ben = kept.join(room, "Ada"), kept.join(room, "Ben")
    for one in (ada, ben):
        one.wait_mode("p2p", 2)
        expect(one.page.get_by_text("Captions are kept")).to_be_visible()
    assert ada.state()["captions"] == "store"
    expect(ben.page.locator("#captions-toggle")).to_be_hidden()  # nothing to switch yet
    send = "([text, isFinal]) => tandem.sendCaption(text, { segmentId: 'a1', isFinal, language: 'en' })"
    ada.page.evaluate(send, ["<b>good", False])
    expect(ben.page.locator("#captions p")).to_have_text("Ada<b>good")
    ada.page.evaluate(send, ["<b>good morning", True])
    expect(ben.page.locator("#captions p")).to_have_text("Ada<b>good morning")
    expect(ada.page.locator("#captions")).to_be_hidden()
    ben.page.keyboard.press("t")
    expect(ben.page.locator("#captions")).to_be_hidden()
    ben.page.get_by_role("button", name="Captions").click()
    expect(ben.page.locator("#captions")).to_be_visible()
    expect(ben.page.locator("#captions")).to_be_hidden(timeout=10_000)  # read and gone
    ada.page.evaluate("() => tandem.sendCaption('to all')")  # a segment by itself
    expect(ben.page.locator("#captions p")).to_have_text("Adato all")
    said = {"confidence": None, "isFinal": True, "who": "Ada"}
    deadline = time.monotonic() + 5
    while len(rows := keeping_server.rows(_SAID, room)) < 2 and time.monotonic() < deadline:
        ada.page.wait_for_timeout(100)
    assert rows == [
        {"text": "<b>good morning", "language": "en", **said},
        {"text": "to all", "language": None, **said},
    ]
    assert not ada.errors + ben.errors


def test_the_browsers_own_recognition_is_offered_and_used(
    chromium: Browser, keeping_server: ServerProcess, room: str
) -> None:
    with callers(chromium, keeping_server.url) as these:
        ben = these.join(room, "Ben")
        ada = these.join(room, "Ada", init_script=_RECOGNISER)
        for one in (ada, ben):
            one.wait_mode("p2p", 2)
        ada.page.get_by_role("button", name="Devices").click()
        ada.page.get_by_label("Caption what I say").check()
        ada.page.evaluate("hear('good', false)")
        expect(ben.page.locator("#captions p")).to_have_text("Adagood")
        ada.page.evaluate("hear('good evening', true)")
        ada.page.evaluate("hear('and', false)")
        expect(ben.page.locator("#captions p").last).to_have_text("Adaand")
        expect(ben.page.locator("#captions p").first).to_have_text("Adagood evening")
        ada.page.keyboard.press("Escape")
        ada.page.keyboard.press("m")
        assert ada.page.evaluate("window.hear === null")  # nobody listens to who is muted
        deadline = time.monotonic() + 5
        while not (rows := keeping_server.rows(_SAID, room)) and time.monotonic() < deadline:
            ada.page.wait_for_timeout(50)
        assert [(row["text"], row["confidence"]) for row in rows] == [("good evening", 0.75)]
        assert not ada.errors + ben.errors
