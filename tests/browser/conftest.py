"""Real browsers against the real server.

Playwright runs an event loop of its own in this thread, so its fixtures end with this package, before tests
of other packages start Trio.
"""

from __future__ import annotations

import asyncio
import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from tests.harness.browsers import Callers, callers, launch_chromium, launch_firefox
from tests.harness.postgres import public_dir
from tests.harness.server_process import ServerProcess

_rooms = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    # trio-asyncio, which the server uses, would have every event loop of this process run on Trio.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons are doing away with policies
        asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
    with sync_playwright() as running:
        yield running
    asyncio.set_event_loop_policy(None)


@pytest.fixture(scope="package")
def chromium(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = launch_chromium(playwright, tmp_path_factory.mktemp("devices"))
    yield browser
    browser.close()


@pytest.fixture
def firefox(playwright: Playwright) -> Iterator[Browser]:
    browser = launch_firefox(playwright)
    yield browser
    browser.close()


@pytest.fixture(scope="package")
def server_process() -> Iterator[ServerProcess]:
    """One server for all tests that do not kill it; each has a room of its own."""
    with public_dir() as folder:
        server = ServerProcess(folder / "data").start()
        yield server
        server.stop()


@pytest.fixture
def own_server() -> Iterator[ServerProcess]:
    """A server that a test may kill and start again."""
    with public_dir() as folder:
        server = ServerProcess(folder / "data").start()
        yield server
        server.stop()


@pytest.fixture
def opened(chromium: Browser, server_process: ServerProcess) -> Iterator[Callers]:
    with callers(chromium, server_process.url) as these:
        yield these


@pytest.fixture
def room() -> str:
    return f"room-{next(_rooms)}"
