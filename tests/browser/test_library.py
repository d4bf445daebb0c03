"""The client library's decisions, apart from media: run in a browser, with a WebSocket that tests write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.harness.server_process import ServerProcess

# `server` is the other end of the newest WebSocket: what was sent to it, and what it says.
_SCRIPTED = """
globalThis.sockets = [];
globalThis.WebSocket = class {
  constructor(url, protocols) {
    Object.assign(this, { url, protocols, sent: [], closed: false });
    sockets.push(this);
    setTimeout(() => this.onopen?.());
  }
  send(text) { this.sent.push(JSON.parse(text)); }
  close() { this.closed = true; }
  say(message) {
    this.onmessage?.({ data: typeof message === 'string' ? message : JSON.stringify(message) });
  }
  answer(index, result) { this.say({ jsonrpc: '2.0', id: this.sent[index].id, result }); }
  refuse(index, code) {
    const error = { code: -32000, message: code, data: { code } };
    this.say({ jsonrpc: '2.0', id: this.sent[index].id, error });
  }
  notify(method, seq, params = {}) { this.say({ jsonrpc: '2.0', method, params: { ...params, seq } }); }
  drop(code = 1006) { this.onclose?.({ code }); }
};
globalThis.tick = (ms = 5) => new Promise((resolve) => setTimeout(resolve, ms));
globalThis.socketNumber = async (number) => {
  while (sockets.length < number) await tick();
  await tick();
  return sockets[number - 1];
};
globalThis.begin = async () => {
  const { Session } = await import('/tandem/rpc.js');
  const session = new Session({ url: 'wss://host/ws', hello: () => ({ name: 'Ada' }) });
  session.heard = [];
  for (const type of ['ready', 'down', 'closed', 'notification'])
    session.addEventListener(type, ({ detail }) => session.heard.push([type, detail]));
  const opened = session.open();
  const socket = await socketNumber(1);
  socket.answer(0, { sessionId: 's', resumeToken: 't', resumed: false });
  await opened;
  return [session, socket];
};
null;  // or the driver would call what the last statement made
"""


@pytest.fixture
def page(chromium: Browser, server_process: ServerProcess) -> Iterator[Page]:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(server_process.url + "favicon.svg")  # a page of the server's that runs nothing by itself
    page.evaluate(_SCRIPTED)
    yield page
    context.close()


def _run(page: Page, body: str) -> Any:
    return page.evaluate(f"async () => {{ {body} }}")


def test_hello_comes_first_and_requests_follow_in_order(page: Page) -> None:
    sent = _run(
        page,
        """
        const [session, socket] = await begin();
        const one = session.request('call.join', { roomId: 'r' });
        const two = session.request('stats');
        socket.answer(1, { call: 1 });
        socket.refuse(2, 'not_in_call');
        const results = [await one, await two.catch((error) => error.code)];
        return [socket.protocols, socket.sent.map((it) => [it.method, it.params]), results];
        """,
    )
    assert sent == [
        ["tandem.v1"],
        [["hello", {"name": "Ada"}], ["call.join", {"roomId": "r"}], ["stats", {}]],
        [{"call": 1}, "not_in_call"],
    ]


def test_a_cut_is_resumed_with_what_was_missed_and_what_was_not_answered(page: Page) -> None:
    told = _run(
        page,
        """
        const [session, first] = await begin();
        first.notify('speaker', 1);
        first.notify('speaker', 2);
        const again = session.request('epoch.swapped', { epoch: 3 });
        const once = session.request('chat.send', { text: 'x' }, { once: true }).catch((error) => error.code);
        first.drop();
        const later = session.request('stats');
        const second = await socketNumber(2);
        const hello = second.sent[0].params.resume;
        second.answer(0, { sessionId: 's', resumeToken: 't2', resumed: true });
        second.notify('speaker', 2);  // it had arrived
        second.notify('speaker', 3);
        const resent = second.sent.slice(1).map((it) => it.method);
        second.answer(1, {});
        second.answer(2, {});
        await again;
        await later;
        const seqs = session.heard.filter(([type]) => type === 'notification').map(([, it]) => it.params.seq);
        const ready = session.heard.filter(([type]) => type === 'ready').map(([, it]) => it.fresh);
        return { hello, resent, once: await once, seqs, ready };
        """,
    )
    assert told == {
        "hello": {"sessionId": "s", "resumeToken": "t", "lastSeq": 2},
        "resent": ["epoch.swapped", "stats"],
        "once": "disconnected",
        "seqs": [1, 2, 3],
        "ready": [True, False],
    }


def test_a_forgotten_session_begins_anew(page: Page) -> None:
    told = _run(
        page,
        """
        const [session, first] = await begin();
        first.notify('speaker', 9);
        const lost = session.request('epoch.swapped', {}).catch((error) => error.code);
        first.drop();
        const second = await socketNumber(2);
        second.refuse(0, 'resume_unknown');
        await tick();
        const hello = second.sent[1].params;
        second.answer(1, { sessionId: 'n', resumeToken: 'm', resumed: false });
        second.notify('speaker', 1);  // sequence numbers begin anew, too
        return [hello, await lost, session.heard.at(-1)[1].params.seq, session.state];
        """,
    )
    assert told == [{"name": "Ada"}, "session_lost", 1, "ready"]


def test_taken_over_is_the_end_and_a_drain_is_waited_for(page: Page) -> None:
    told = _run(
        page,
        """
        const [session, first] = await begin();
        first.notify('server.draining', 1, { reconnectAfterMs: 50 });
        await tick();
        const down = session.heard.at(-1);
        const second = await socketNumber(2);
        second.answer(0, { sessionId: 's', resumeToken: 't', resumed: true });
        second.drop(4001);
        await tick(400);
        return [down, first.closed, session.state, sockets.length, session.heard.at(-1)];
        """,
    )
    assert told == [
        ["down", {"code": 1001, "retryInMs": 50}],
        True,
        "closed",
        2,
        ["closed", {"code": 4001, "error": None}],
    ]


def test_a_refused_token_is_final(page: Page) -> None:
    told = _run(
        page,
        """
        const { Session } = await import('/tandem/rpc.js');
        const session = new Session({ url: 'wss://host/ws', hello: () => ({}) });
        const opened = session.open().catch((error) => error.code);
        (await socketNumber(1)).refuse(0, 'token_expired');
        const code = await opened;
        await tick(400);
        return [code, session.state, sockets.length];
        """,
    )
    assert told == ["token_expired", "closed", 1]


@pytest.mark.parametrize(
    "garbage",
    ["", "[]", "null", "{", "{}", '{"id":99,"result":{}}', '{"method":7}', '{"id":null,"error":{}}'],
)
def test_nonsense_from_the_server_harms_nothing(page: Page, garbage: str) -> None:
    page_errors: list[str] = []
    page.on("pageerror", lambda error: page_errors.append(str(error)))
    result = page.evaluate(
        """async (garbage) => {
          const [session, socket] = await begin();
          const asked = session.request('call.state');
          socket.say(garbage);
          socket.answer(1, { fine: true });
          return [await asked, session.state];
        }""",
        garbage,
    )
    assert result == [{"fine": True}, "ready"]
    assert page_errors == []


def test_back_off_doubles_has_jitter_and_an_upper_bound(page: Page) -> None:
    low, high = _run(
        page,
        """
        const { backoff } = await import('/tandem/rpc.js');
        const of = (random) => [...Array(12).keys()].map((n) => backoff(n, () => random));
        return [of(0), of(1)];
        """,
    )
    assert high == [250, 500, 1000, 2000, 4000, *[5000] * 7]
    assert low == [ms / 2 for ms in high]


# What is sent where, as the call goes from P2P to the SFU and back: to the SFU, on P2P of epoch 1.
_TO_SFU = {"epoch": 2, "from": "p2p", "to": "sfu"}
_STRAGGLER = [{"receiver": "b", "sender": "a"}]
_ALL = ["microphone", "camera", "screen"]


@pytest.mark.parametrize(
    ("steps", "to_sfu", "on_p2p", "target"),
    [
        ([], [], _ALL, "p2p"),
        ([["prepare", _TO_SFU]], _ALL, _ALL, "sfu"),
        ([["prepare", _TO_SFU], ["abort", {"epoch": 2}]], [], _ALL, "p2p"),
        ([["prepare", _TO_SFU], ["abort", {"epoch": 1}]], _ALL, _ALL, "sfu"),
        ([["prepare", _TO_SFU], ["commit", {"epoch": 2, "mode": "sfu"}]], _ALL, ["microphone"], "sfu"),
        (
            [["prepare", _TO_SFU], ["commit", {"epoch": 2, "mode": "sfu", "stragglers": _STRAGGLER}]],
            _ALL,
            _ALL,
            "sfu",
        ),
        (
            [["prepare", _TO_SFU], ["commit", {"epoch": 2, "mode": "sfu"}], ["release", {"epoch": 2}]],
            _ALL,
            [],
            "sfu",
        ),
        ([["prepare", {**_TO_SFU, "epoch": 1}]], [], _ALL, "p2p"),  # stale
        ([["commit", {"epoch": 1, "mode": "sfu"}]], [], _ALL, "p2p"),  # known already
    ],
)
def test_what_is_sent_where(
    page: Page, steps: list[Any], to_sfu: list[str], on_p2p: list[str], target: str
) -> None:
    result = page.evaluate(
        """async (steps) => {
          const { Epochs } = await import('/tandem/epochs.js');
          const epochs = new Epochs({ mode: 'p2p', epoch: 1 });
          for (const [name, params] of steps) epochs[name](params);
          return [epochs.sourcesToSfu('a'), epochs.sourcesOnP2p(1, 'a'), epochs.target];
        }""",
        steps,
    )
    assert result == [to_sfu, on_p2p, target]


def test_the_audio_gap_counts_concealment_and_what_was_never_played(page: Page) -> None:
    gaps = _run(
        page,
        """
        const { audioGap } = await import('/tandem/gaps.js');
        const first = { at: 1000, samples: 4800, concealed: 480 };
        return [
          audioGap(first, { at: 2000, samples: 52800, concealed: 480 }),
          audioGap(first, { at: 2000, samples: 52800, concealed: 2880 }),
          audioGap(first, { at: 2000, samples: 43200, concealed: 480 }),
          audioGap(first, { at: 2000, samples: 51360, concealed: 480 }),
        ];
        """,
    )
    assert gaps == [0, 50, 200, 0]  # 30 ms of difference is within what reading the figures costs
