from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.http.exchange import Peer, Request, Response
from server.http.static import StaticFiles

PEER = Peer(address="127.0.0.1", port=1, secure=False, loopback=True)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = tmp_path / "web"
    (root / "page").mkdir(parents=True)
    (root / "index.html").write_text("<p>home")
    (root / "page" / "app.js").write_text("export {}")
    (root / "__init__.py").write_text("secret")
    (root / ".hidden.js").write_text("secret")
    (tmp_path / "outside.js").write_text("secret")
    (root / "link.js").symlink_to(tmp_path / "outside.js")
    (root / "folder.js").mkdir()
    return root


async def get(files: StaticFiles, target: str, **headers: str) -> Response:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return await files(Request("GET", target, pairs, PEER))


async def test_files_and_their_types(site: Path) -> None:
    files = StaticFiles(site)
    home = await get(files, "/?room=x#y")
    assert (home.status, home.body) == (200, b"<p>home")
    assert (b"content-type", b"text/html; charset=utf-8") in home.headers
    script = await get(files, "/page/app.js")
    assert (b"content-type", b"text/javascript; charset=utf-8") in script.headers


@pytest.mark.parametrize(
    "target",
    [
        "/nothing.html",
        "/__init__.py",
        "/.hidden.js",
        "/../outside.js",
        "/page/../../outside.js",
        "/%2e%2e/outside.js",
        "/..%2foutside.js",
        "/page%2f..%2f..%2foutside.js",
        "/link.js",
        "/folder.js",
        "/page",
        "/page/",
        "//index.html",
        "/index.html%00.js",
        "/page\\app.js",
        "index.html",
        "*",
        "/" + "a/" * 50 + "x.js",
        "/" + "x" * 5000 + ".js",
        "/index.html/x.js",
    ],
)
async def test_nothing_else_is_served(site: Path, target: str) -> None:
    response = await get(StaticFiles(site), target)
    assert response.status == 404
    assert b"secret" not in response.body


async def test_validation_and_change(site: Path) -> None:
    files = StaticFiles(site)
    first = await get(files, "/")
    etag = dict(first.headers)[b"etag"].decode()
    again = await get(files, "/", if_none_match=f'"other", {etag}')
    assert (again.status, again.body) == (304, b"")
    assert dict(again.headers)[b"etag"].decode() == etag
    (site / "index.html").write_text("<p>changed")
    changed = await get(files, "/", if_none_match=etag)
    assert (changed.status, changed.body) == (200, b"<p>changed")


@given(st.text(max_size=40))
def test_whatever_is_located_lies_below_the_root(path: str) -> None:
    root = Path("/srv/web")
    found = StaticFiles(root).locate_untrusted("/" + path)
    assert found is None or (found.is_relative_to(root) and ".." not in found.parts)
