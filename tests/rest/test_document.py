"""docs/rest.md, the OpenAPI document and the page say what the code does."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server.config import load
from server.rest import api, asked, shapes
from server.rest.openapi import document
from server.rest.page import page
from server.rest.problems import PROBLEMS
from server.rest.routes import BASE, OPERATIONS, problems_of

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "rest.md").read_text()
OPENAPI = json.loads(msgspec.json.encode(document("1")))


def test_the_operations_are_those_of_the_table() -> None:
    told = re.findall(r"^\| `([A-Z]+) ([^`]+)` \| `([a-z-]+)` \| (.+) \|$", DOCUMENT, flags=re.MULTILINE)
    assert told == [(one.method, one.path, one.need, one.summary) for one in OPERATIONS]


def test_the_problems_are_those_of_the_table() -> None:
    told = re.findall(r"^\| `([a-z_]+)` \| (\d+) \| (.+) \|$", DOCUMENT, flags=re.MULTILINE)
    assert told == [(code, str(status), text) for code, (status, text) in PROBLEMS.items()]


def test_every_refusal_in_the_code_is_in_the_table() -> None:
    raised = {
        node.args[0].value
        for path in Path(api.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Problem"
        if isinstance(node.args[0], ast.Constant)
    }
    others = {"token_invalid", "token_expired", "too_large", "room_limit", "draining"}  # ClientErrors
    assert raised | others == set(PROBLEMS)


def test_the_settings_exist_and_have_these_values() -> None:
    settings = load().rest
    assert set(re.findall(r"`rest\.(\w+)`", DOCUMENT)) == set(settings.__struct_fields__)
    assert (settings.requests_per_s, settings.request_burst, settings.timeout_s) == (50, 200, 3)


def test_every_operation_is_described() -> None:
    described = {
        operation["operationId"]: (method.upper(), path)
        for path, methods in OPENAPI["paths"].items()
        for method, operation in methods.items()
    }
    assert described == {one.id: (one.method, BASE + one.path) for one in OPERATIONS}
    assert len(described) == len(OPERATIONS)


@pytest.mark.parametrize("one", OPERATIONS, ids=lambda one: one.id)
def test_names_in_a_path_are_parameters(one: Any) -> None:
    operation = OPENAPI["paths"][BASE + one.path][one.method.lower()]
    places = [(parameter["name"], parameter["in"]) for parameter in operation["parameters"]]
    named = re.findall(r"\{(\w+)\}", one.path)
    assert [name for name, place in places if place == "path"] == named
    assert ("Idempotency-Key", "header") in places if one.keyed else "header" not in dict(places).values()
    statuses = {PROBLEMS[code][0] for code in problems_of(one)} | {one.status}
    assert set(operation["responses"]) == {str(status) for status in statuses}


def refs(value: Any) -> set[str]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    own = {value["$ref"]} if isinstance(value, dict) and "$ref" in value else set()
    return own.union(*(refs(one) for one in inner))


def test_every_reference_leads_somewhere_and_no_python_is_left() -> None:
    there = {f"#/components/schemas/{name}" for name in OPENAPI["components"]["schemas"]}
    assert refs(OPENAPI) <= there
    text = json.dumps(OPENAPI)
    assert "\\\\Z" not in text
    assert "UNSET" not in text


def test_what_goes_out_is_described_whole() -> None:
    call = OPENAPI["components"]["schemas"]["Call"]
    assert call["required"] == list(shapes.Call.__struct_encode_fields__)
    assert call["additionalProperties"] is False
    body = OPENAPI["components"]["schemas"]["OpenCall"]
    assert (body["required"], body["additionalProperties"]) == (["roomId"], False)
    assert list(body["properties"]) == list(asked.OpenCall.__struct_encode_fields__)


def test_the_page_tells_all_of_it_without_a_script() -> None:
    html = page("1").decode()
    assert "<script" not in html
    for one in OPERATIONS:
        assert f"id='{one.id}'" in html
    for code in PROBLEMS:
        assert f"id='{code}'" in html
    links = set(re.findall(r"href='#(\w+)'", html))
    assert links <= set(re.findall(r"id='?(\w+)'?", html))
