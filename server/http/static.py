"""The page's files: known types below one folder, kept in memory, validated by ETag (RFC 9110, 8.8.3)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from server.http.exchange import Request, Response, text

TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".png": b"image/png",
    ".ico": b"image/vnd.microsoft.icon",
    ".json": b"application/json",
    ".webmanifest": b"application/manifest+json",
    ".woff2": b"font/woff2",
    ".txt": b"text/plain; charset=utf-8",
    ".mp3": b"audio/mpeg",
    ".wav": b"audio/wav",
}


@dataclass(frozen=True, slots=True)
class _File:
    stamp: tuple[int, int]  # mtime in ns, size
    body: bytes
    etag: bytes


class StaticFiles:
    def __init__(self, root: Path, index: str = "index.html") -> None:
        self._root = root.resolve()
        self._index = index
        self._files: dict[Path, _File] = {}

    async def __call__(self, request: Request) -> Response:
        path = self.locate_untrusted(request.path)
        file = self._read(path) if path is not None else None
        if path is None or file is None:
            return text(404, "There is nothing here.")
        validators = [(b"etag", file.etag), (b"cache-control", b"no-cache")]
        wanted = request.header(b"if-none-match")
        if wanted is not None and file.etag.decode() in [tag.strip() for tag in wanted.split(",")]:
            return Response(304, validators)
        return Response(200, [(b"content-type", TYPES[path.suffix]), *validators], file.body)

    def locate_untrusted(self, url_path: str) -> Path | None:
        """The file that a URL path names, or None for all that is no file of a known type below root."""
        if not url_path.startswith("/") or "\\" in url_path or not url_path.isprintable():
            return None
        parts = url_path[1:].split("/")
        if parts[-1] == "":
            parts[-1] = self._index
        if any(part == "" or part.startswith(".") or len(part) > 100 for part in parts) or len(parts) > 8:
            return None
        path = self._root.joinpath(*parts)
        if path.suffix not in TYPES:
            return None
        return path

    def _read(self, path: Path) -> _File | None:
        # The files are few and small and the page cache holds them: no thread is worth its cost here.
        try:
            real = path.resolve(strict=True)
            if not real.is_relative_to(self._root) or not real.is_file():
                return None
            stat = real.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            known = self._files.get(path)
            if known is not None and known.stamp == stamp:
                return known
            body = real.read_bytes()
        except (OSError, RuntimeError, ValueError):
            return None
        etag = b'"' + hashlib.sha256(body).hexdigest()[:24].encode() + b'"'
        file = self._files[path] = _File(stamp, body, etag)
        return file
