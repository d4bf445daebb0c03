"""The page as people use it: lobby, keys, chat, and what it says when something is wrong."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.harness.browsers import Caller, Callers
from tests.harness.server_process import ServerProcess


def _open(chromium: Browser, url: str, script: str = "") -> Caller:
    page = chromium.new_context(viewport={"width": 390, "height": 800}).new_page()
    if script:
        page.add_init_script(script)
    caller = Caller(page, "visitor")
    page.goto(url)
    return caller


def test_from_the_lobby_into_a_call_and_out(
    chromium: Browser, server_process: ServerProcess, room: str
) -> None:
    visitor = _open(chromium, f"{server_process.url}?room={room}")
    page = visitor.page
    expect(page.get_by_label("Room", exact=True)).to_have_value(room)
    page.get_by_label("Your name").fill("Ada Lovelace")
    page.get_by_label("Your name").press("Enter")
    expect(page.get_by_role("toolbar", name="Call")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="Ada Lovelace (you)")).to_be_visible()
    page.keyboard.press("m")
    expect(page.get_by_role("button", name="Microphone off")).to_be_visible()
    page.keyboard.press("v")
    expect(page.get_by_role("button", name="Camera off")).to_be_visible()
    page.keyboard.press("l")
    expect(page.get_by_role("heading", name="You left the call")).to_be_visible()
    assert visitor.state()["callId"] is None
    page.get_by_role("button", name="Join again").click()
    visitor.wait("call", lambda state: state["roomId"] == room)
    assert not visitor.errors
    visitor.close()


def test_chat_reaches_the_others_as_text(opened: Callers, room: str) -> None:
    ada, ben = opened.join(room, "Ada"), opened.join(room, "Ben")
    for one in (ada, ben):
        one.wait_mode("p2p", 2)
    ada.page.keyboard.press("c")
    ada.page.get_by_label("Message", exact=True).fill("<b>hello</b> m v l")
    ada.page.keyboard.press("Enter")
    expect(ada.page.locator("#messages .mine")).to_contain_text("<b>hello</b>")
    expect(ben.page.locator("#unread")).to_have_text("1")
    ben.page.get_by_role("button", name="Chat, 1 unread").click()
    expect(ben.page.locator("#messages li")).to_contain_text("<b>hello</b> m v l")
    expect(ben.page.locator("#messages .from")).to_contain_text("Ada")
    assert ada.state()["participants"][0]["audioEnabled"]  # keys typed into the field are no commands


def test_a_refused_camera_is_explained_and_one_can_join_without(
    chromium: Browser, server_process: ServerProcess, room: str
) -> None:
    refuse = """
    navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError'); };
    """
    visitor = _open(chromium, f"{server_process.url}?room={room}&name=Ada&autojoin=1", refuse)
    expect(visitor.page.get_by_text("does not let this page use your camera")).to_be_visible()
    state = visitor.wait("call", lambda now: now["callId"])
    assert not state["participants"][0]["videoEnabled"]
    assert not visitor.errors
    visitor.close()


def test_a_phone_shows_every_control(opened: Callers, room: str) -> None:
    ada = opened.join(room, "Ada", viewport=(360, 640))
    ada.wait("call", lambda state: state["callId"])
    for button in ada.page.locator(".toolbar .round:visible").all():
        box = button.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        assert min(box["width"], box["height"]) >= 44
    assert ada.page.evaluate("() => document.documentElement.scrollWidth") <= 360


def test_tiles_never_overlap_and_stay_inside(opened: Callers, room: str) -> None:
    page = opened.join(room, "Ada").page
    bad = page.evaluate("""async () => {
      const { layout } = await import('/page/layout.js');
      const bad = [];
      for (const [width, height] of [[1280, 640], [390, 700], [800, 300], [320, 320], [2560, 1300]])
        for (let people = 0; people <= 25; people += 1)
          for (let screens = 0; screens <= 2; screens += 1) {
            const tiles = [...Array(people).keys()].map((id) => ({ id: `p${id}`, role: 'remote' }));
            tiles.push({ id: 'self', role: 'self' });
            for (let index = 0; index < screens; index += 1) tiles.push({ id: `s${index}`, role: 'screen' });
            const places = [...layout(width, height, tiles).values()];
            if (places.length !== tiles.length) bad.push(['count', width, height, people, screens]);
            for (const [index, a] of places.entries()) {
              const outside = a.x < 0 || a.y < 0
                || a.x + a.width > width + 1
                || a.y + a.height > height + 1;
              if (outside || a.width < 1 || a.height < 1) bad.push(['out', width, height, people, screens]);
              for (const b of places.slice(index + 1)) {
                const apart = a.x + a.width <= b.x || b.x + b.width <= a.x
                  || a.y + a.height <= b.y || b.y + b.height <= a.y;
                if (!apart && !a.pip && !b.pip) bad.push(['overlap', width, height, people, screens]);
              }
            }
          }
      return bad.slice(0, 5);
    }""")
    assert bad == []


def test_every_module_is_preloaded(opened: Callers, room: str) -> None:
    """Modules import one another several levels deep: found one by one, each level costs a round trip."""
    page = opened.join(room, "Ada").page
    loaded, preloaded = page.evaluate("""() => [
      performance.getEntriesByType('resource')
        .map((one) => new URL(one.name).pathname).filter((path) => path.endsWith('.js')),
      [...document.querySelectorAll('link[rel=modulepreload]')].map((one) => one.getAttribute('href')),
    ]""")
    assert set(loaded) - {"/page/main.js"} == set(preloaded)


# The driver's own questions count as gestures of the user, so the browser's rule is played here: an element
# that is unmuted without a gesture is paused, and may not play.
_NO_SOUND_WITHOUT_GESTURE = """
let gesture = false;
addEventListener('pointerdown', () => { gesture = true; }, { capture: true });
const { play } = HTMLMediaElement.prototype;
const muted = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'muted');
HTMLMediaElement.prototype.play = function () {
  if (gesture || this.muted) return play.call(this);
  return Promise.reject(new DOMException('no gesture', 'NotAllowedError'));
};
Object.defineProperty(HTMLMediaElement.prototype, 'muted', { ...muted, set(value) {
  muted.set.call(this, value);
  if (!value && !gesture) this.pause();
} });
"""


def test_sound_that_the_browser_refuses_is_asked_for(opened: Callers, room: str) -> None:
    ada = opened.join(room, "Ada", init_script=_NO_SOUND_WITHOUT_GESTURE)
    opened.join(room, "Ben")
    ada.wait_mode("p2p", 2)
    expect(ada.page.get_by_text("keeps the sound off until you click")).to_be_visible()
    [seen] = ada.observe().values()
    assert seen["audible"] == 0
    assert not seen["camera"]["paused"]  # seen all the same
    ada.page.get_by_role("button", name="Click to hear").click()
    expect(ada.page.get_by_text("keeps the sound off until you click")).not_to_be_visible()
    ada.wait_playing(1)
