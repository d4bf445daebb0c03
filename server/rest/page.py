"""The same description for people: one page, without a script."""

from __future__ import annotations

from html import escape
from typing import Any

from server.rest.access import NEEDS
from server.rest.openapi import document
from server.rest.problems import PROBLEMS
from server.rest.routes import BASE, OPERATIONS

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.5rem } h3 { margin: 2rem 0 .25rem; font-size: 1rem }
code, pre { font: .9em/1.5 ui-monospace, monospace }
pre { padding: .75rem 1rem; overflow-x: auto; border: 1px solid #8886; border-radius: .5rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem .3rem 0 }
tr { border-bottom: 1px solid #8884 }
.method { display: inline-block; min-width: 4.5em }
"""


def page(version: str) -> bytes:
    described = document(version)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>Tandem: the REST API</title><style>{_STYLE}</style>",
        "<h1>The REST API</h1>",
        f"<p>Version {escape(version)}. The same for programs, OpenAPI 3.1: "
        f"<a href='{BASE}/openapi.json'>openapi.json</a>. Each request carries a token:</p>",
        f'<pre>curl -H "Authorization: Bearer $TOKEN" https://this.server{BASE}/calls?limit=5</pre>',
        "<p>Times are RFC 3339 in UTC. A page has <code>nextCursor</code>, to be said as <code>cursor</code> "
        "for the next one. What is refused comes as problem details (RFC 9457) with a <code>code</code> of "
        "<a href='#problems'>those below</a>.</p>",
        "<h2>Operations</h2>",
    ]
    for one in OPERATIONS:
        path = BASE + one.path
        told = described["paths"][path][one.method.lower()]
        parts.append(
            f"<h3 id='{one.id}'><code><span class=method>{one.method}</span> {escape(path)}</code></h3>"
            f"<p>{_words(one.summary)}. For {_words(NEEDS[one.need])}.</p>"
        )
        rows = [_row(p["name"], p["in"], p["required"], p) for p in told["parameters"]]
        if one.body is not None:
            body = described["components"]["schemas"][one.body.__name__]
            required = body.get("required", [])
            rows += [
                _row(name, "body", name in required, {"schema": p}) for name, p in body["properties"].items()
            ]
        if rows:
            parts.append("<table><tr><th>name<th>in<th>what</tr>" + "".join(rows) + "</table>")
        gives = (
            "nothing" if one.gives is None else f"<a href='#{one.gives.__name__}'>{one.gives.__name__}</a>"
        )
        parts.append(f"<p>Gives {one.status}, {gives}.</p>")
    parts.append("<h2>What is given</h2>")
    for name, schema in described["components"]["schemas"].items():
        parts.append(f"<h3 id='{name}'>{name}</h3><p>{_words(schema.get('description', ''))}</p><table>")
        parts += [_row(field, "", True, {"schema": p}) for field, p in schema.get("properties", {}).items()]
        parts.append("</table>")
    parts.append("<h2 id=problems>Problems</h2><table><tr><th>code<th>status<th>what to do</tr>")
    parts += [
        f"<tr id='{code}'><td><code>{code}</code><td>{status}<td>{_words(text)}</tr>"
        for code, (status, text) in PROBLEMS.items()
    ]
    parts.append("</table></html>")
    return "\n".join(parts).encode()


def _row(name: str, place: str, required: bool, told: dict[str, Any]) -> str:
    schema = told["schema"]
    described = [told, schema, *schema.get("anyOf", [])]
    said = next((one["description"] for one in described if "description" in one), "")
    kind = _kind(schema) + ("" if required else ", may be left out")
    where = f"<td>{place}" if place else ""
    return f"<tr><td><code>{escape(name)}</code>{where}<td>{kind}{'; ' + _words(said) if said else ''}</tr>"


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"<a href='#{name}'>{name}</a>"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"a list of {_kind(schema.get('items', {}))}"
    text = {"date-time": "a time"}.get(schema.get("format", ""), schema.get("type", "any JSON"))
    limits = [
        f"{word} {schema[key]}"
        for key, word in (
            ("minimum", "from"),
            ("maximum", "to"),
            ("maxLength", "of at most"),
            ("maxItems", "of at most"),
        )
        if key in schema
    ]
    if schema.get("default") is not None:
        limits.append(f"by itself {escape(str(schema['default']))}")
    return " ".join([escape(text), *limits])


def _words(text: str) -> str:
    """Text in which backticks mean code."""
    parts = escape(" ".join(text.split())).split("`")
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))
