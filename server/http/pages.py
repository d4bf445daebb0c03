"""What the server says about itself: `/healthz` for supervisors, `/metrics` for Prometheus.

The parts of the server hand in functions that read their figures; nothing here knows them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from server.http.exchange import Request, Response, json, text
from server.http.guard import may_read_metrics

Kind = Literal["counter", "gauge"]
Source = Callable[[], Mapping[str, Any]]


class Health:
    """503 when a vital part does not answer "ok"; the body tells the state of every part."""

    def __init__(
        self,
        *,
        version: str,
        vital: Mapping[str, Callable[[], str]],
        other: Mapping[str, Callable[[], str]],
    ) -> None:
        self._version = version
        self._vital = vital
        self._other = other

    async def __call__(self, request: Request) -> Response:
        vital = {name: read() for name, read in self._vital.items()}
        other = {name: read() for name, read in self._other.items()}
        alive = all(state == "ok" for state in vital.values())
        status = "failed" if not alive else "ok" if set(other.values()) <= {"ok"} else "degraded"
        body = {"status": status, "version": self._version, **vital, **other}
        return json(200 if alive else 503, body)


class Metrics:
    """Every source's figures as `tandem_<source>_<key>`; nested mappings add their keys."""

    def __init__(
        self, sources: Mapping[str, tuple[Kind, Source]], *, version: str, token: str | None
    ) -> None:
        self._sources = sources
        self._version = version
        self._token = token

    async def __call__(self, request: Request) -> Response:
        if not may_read_metrics(request, self._token):
            return text(
                403,
                "Metrics are for this machine, or for whoever sends http.metrics_token as a Bearer token.",
            )
        from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        registry.register(self)
        body = generate_latest(registry)
        return Response(200, [(b"content-type", CONTENT_TYPE_LATEST.encode())], body)

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        yield InfoMetricFamily("tandem_build", "This server", value={"version": self._version})
        for source, (kind, read) in self._sources.items():
            family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            for key, value in sorted(_flatten(source, read())):
                yield family(f"tandem_{key}", key.replace("_", " "), value=value)


def _flatten(prefix: str, figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in figures.items():
        name = f"{prefix}_{''.join(c if c.isalnum() else '_' for c in str(key))}"
        if isinstance(value, Mapping):
            yield from _flatten(name, value)
        elif isinstance(value, (int, float)):
            yield name, float(value)
