"""docs/protocol.md and the code say the same: names, fields, error and close codes, examples."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server.config import load
from server.signaling import machine, rpc
from server.signaling import messages as m

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "protocol.md").read_text()
OBJECTS = (
    m.CallState,
    m.ParticipantInfo,
    m.MediaPath,
    m.IceServer,
    m.ConsumerInfo,
    m.Pair,
    m.Description,
    m.Resume,
)


def sections(level: str, within: str = DOCUMENT) -> dict[str, str]:
    parts = re.split(rf"^{level} (.+)$", within, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


CHAPTERS = sections("##")
METHODS = sections("###", CHAPTERS["Methods"])
NOTIFICATIONS = {
    title.removesuffix(" (notification)"): text
    for title, text in sections("###", CHAPTERS["Notifications"]).items()
}


def table_fields(text: str, head: str) -> list[str]:
    """First column of the table whose heading begins with `head`."""
    found = re.search(rf"^\| {head} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    return re.findall(r"^\| `([^`]+)`", found.group(1), flags=re.MULTILINE) if found else []


def examples(text: str, arrow: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in re.findall(rf"^{arrow} (.*)$", text, flags=re.MULTILINE)]


def strictly(value: Any, kind: type[msgspec.Struct]) -> None:
    """`value` is of that type and has no field that the type does not have."""
    converted = msgspec.to_builtins(msgspec.convert(value, kind))
    unknown = set(value) - set(converted)
    assert not unknown, f"{kind.__name__} has no {unknown}"


def test_the_document_lists_the_methods_and_notifications_that_there_are() -> None:
    assert list(METHODS) == list(m.METHODS)
    assert list(NOTIFICATIONS) == list(m.NOTIFICATIONS)


@pytest.mark.parametrize("method", sorted(m.METHODS))
def test_a_method(method: str) -> None:
    params, result = m.METHODS[method]
    text = METHODS[method]
    assert table_fields(text, "field") == list(params.__struct_encode_fields__)
    if result is m.CallResult:
        assert "[CallState](#callstate)" in text
    else:
        assert table_fields(text, "result") == list(result.__struct_encode_fields__)
    (request,) = examples(text, "→")
    decoded = rpc.decode_untrusted(json.dumps(request))
    assert decoded.method == method
    strictly(request["params"], params)
    for answer in examples(text, "←"):
        strictly(answer["result"], result)
    assert set(re.findall(r"`(\w+)`", text.partition("Errors: ")[2].partition("\n")[0])) <= error_words()


def test_an_example_of_a_call_state_is_given() -> None:
    (answer,) = examples(METHODS["call.join"], "←")
    strictly(answer["result"]["call"], m.CallState)


@pytest.mark.parametrize("name", sorted(m.NOTIFICATIONS))
def test_a_notification(name: str) -> None:
    kind = m.NOTIFICATIONS[name]
    text = NOTIFICATIONS[name]
    assert table_fields(text, "field") == list(kind.__struct_encode_fields__)
    (example,) = examples(text, "←")
    assert example["method"] == name
    assert isinstance(example["params"].pop("seq"), int)
    strictly(example["params"], kind)


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_object(kind: type[m.Wire]) -> None:
    text = sections("###", CHAPTERS["Objects"])[kind.__name__]
    assert table_fields(text, "field") == list(kind.__struct_encode_fields__)


def error_words() -> set[str]:
    return set(table_fields(CHAPTERS["Errors"], r"`data\.code`"))


def words_in_code() -> set[str]:
    """The first argument of every ClientError, and of the `super().__init__` of its subclasses."""
    words = set()
    for path in (ROOT / "server").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            calls: list[ast.Call] = []
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "ClientError"
            ):
                calls = [node]
            elif isinstance(node, ast.ClassDef) and any(
                isinstance(base, ast.Name) and base.id == "ClientError" for base in node.bases
            ):
                calls = [
                    inner
                    for inner in ast.walk(node)
                    if isinstance(inner, ast.Call)
                    and isinstance(inner.func, ast.Attribute)
                    and inner.func.attr == "__init__"
                ]
            for call in calls:
                first = call.args[0]
                if isinstance(first, ast.Constant):
                    words.add(str(first.value))
    return words


def test_the_error_words_are_those_of_the_code() -> None:
    assert error_words() == words_in_code()


def test_the_error_numbers_are_those_of_the_code() -> None:
    numbers = {value for name, value in vars(rpc).items() if name.isupper() and isinstance(value, int)}
    told = set(map(int, re.findall(r"^\| (-32\d+) \|", CHAPTERS["Errors"], flags=re.MULTILINE)))
    assert told == {number for number in numbers if number < 0}


def test_the_close_codes_are_those_of_the_code() -> None:
    (line,) = re.findall(r"^WebSocket close codes: (.*)$", DOCUMENT, flags=re.MULTILINE)
    told = set(map(int, re.findall(r"\b\d{4}\b", line)))
    used = {value for name, value in vars(machine).items() if name.isupper() and isinstance(value, int)}
    assert told == {code for code in used if 1000 < code < 5000}


def test_the_settings_of_the_limits_exist() -> None:
    config = load()
    named = re.findall(r"`((?:limits|http|call)\.\w+)`", CHAPTERS["Limits"])
    assert len(named) >= 10
    for name in named:
        section, field = name.split(".")
        assert hasattr(getattr(config, section), field), name


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", DOCUMENT, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(#([^)]+)\)", DOCUMENT):
        assert target in anchors, target
