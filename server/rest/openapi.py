"""The API described by OpenAPI 3.1, made of the very types and table that serve it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from server.rest import shapes
from server.rest.access import NEEDS
from server.rest.problems import CONTENT_TYPE, PROBLEMS, ProblemDetails
from server.rest.routes import BASE, OPERATIONS, Operation, problems_of

KEY = "Idempotency-Key"
KEY_LIMIT = 128
_REF = "#/components/schemas/{name}"


def document(version: str) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for one in OPERATIONS:
        paths.setdefault(BASE + one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Tandem",
            "version": version,
            "summary": "Calls for applications: opened, watched, ended, looked up.",
            "license": {"name": "see the distribution", "identifier": "LicenseRef-Tandem"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The same tokens as for calls; `tandem token` makes them.",
                }
            },
        },
    }


def _operation(one: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": one.id,
        "summary": one.summary,
        "description": f"Needs a token with {NEEDS[one.need]}.",
        "parameters": [*_parameters(one.in_path, "path"), *_parameters(one.query, "query"), *_key(one)],
        "responses": {str(one.status): _success(one), **_refusals(one)},
    }
    if one.body is not None:
        info = msgspec.inspect.type_info(one.body)
        assert isinstance(info, msgspec.inspect.StructType)
        described["requestBody"] = {
            "required": any(field.required for field in info.fields),
            "content": {"application/json": {"schema": {"$ref": _REF.format(name=one.body.__name__)}}},
        }
    return described


def _parameters(kind: type[msgspec.Struct], place: str) -> Iterable[dict[str, Any]]:
    (_, components) = msgspec.json.schema_components([kind], ref_template=_REF)
    described = components[kind.__name__]
    for name, schema in described["properties"].items():
        schema = dict(_portable(schema))
        text = schema.pop("description", None)
        yield {
            "name": name,
            "in": place,
            "required": place == "path",
            "schema": schema,
            **({"description": text} if text else {}),
        }


def _key(one: Operation) -> list[dict[str, Any]]:
    if not one.keyed:
        return []
    schema = {"type": "string", "minLength": 1, "maxLength": KEY_LIMIT, "pattern": "^[!-~]+$"}
    text = "The same key with the same body, within a day, gets the first answer again and opens nothing."
    return [{"name": KEY, "in": "header", "required": False, "schema": schema, "description": text}]


def _success(one: Operation) -> dict[str, Any]:
    if one.gives is None:
        return {"description": "Done."}
    ref = {"$ref": _REF.format(name=one.gives.__name__)}
    said = (one.gives.__doc__ or "Done.").strip().partition("\n")[0]
    described: dict[str, Any] = {"description": said, "content": {"application/json": {"schema": ref}}}
    if one.made_at is not None:
        schema = {"type": "string", "pattern": f"^{BASE}/"}
        described["headers"] = {"Location": {"required": True, "schema": schema}}
    return described


def _refusals(one: Operation) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in problems_of(one):
        by_status.setdefault(PROBLEMS[code][0], []).append(code)
    content = {CONTENT_TYPE.decode(): {"schema": {"$ref": _REF.format(name=ProblemDetails.__name__)}}}
    return {
        str(status): {
            "description": "; ".join(f"`{code}`: {PROBLEMS[code][1]}" for code in codes),
            "content": content,
        }
        for status, codes in sorted(by_status.items())
    }


def _schemas() -> dict[str, Any]:
    bodies = [one.body for one in OPERATIONS if one.body is not None]
    given = [one.gives for one in OPERATIONS if one.gives is not None]
    _, components = msgspec.json.schema_components([*bodies, *given, ProblemDetails], ref_template=_REF)
    for name, schema in components.items():
        kind = getattr(shapes, name, None)
        if kind is not None:  # what goes out always has all of its names, and no others
            schema["required"] = list(schema.get("properties", {}))
            schema["additionalProperties"] = False
    return {name: _portable(schema) for name, schema in sorted(components.items())}


def _portable(schema: Any) -> Any:
    """`\\Z` is Python's; in the regular expressions of JSON Schema (ECMA-262) `$` is the very end."""
    if isinstance(schema, dict):
        return {
            key: value.replace(r"\Z", "$")
            if key == "pattern" and isinstance(value, str)
            else _portable(value)
            for key, value in schema.items()
        }
    if isinstance(schema, list):
        return [_portable(one) for one in schema]
    return schema
