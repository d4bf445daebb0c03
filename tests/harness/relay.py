"""A TCP relay that can be cut and mended, between a browser and the server's HTTP port."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading


class Relay:
    """Passes connections on to `port` of this machine. While cut, it closes all and refuses new ones."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._cut = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="relay")

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing = True
        self._wake.send(b"!")
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/"

    def cut(self) -> None:
        self._cut = True
        self._wake.send(b"!")

    def mend(self) -> None:
        self._cut = False

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            self._selector = selector
            for one in (self._listener, self._woken):
                selector.register(one, selectors.EVENT_READ)
            while not self._closing:
                for key, _ in selector.select():
                    self._readable(key.fileobj)  # type: ignore[arg-type]
            self._close_all()
        for one in (self._listener, self._wake, self._woken):
            one.close()

    def _readable(self, one: socket.socket) -> None:
        if one is self._woken:
            one.recv(64)
            if self._cut:
                self._close_all()
        elif one is self._listener:
            self._accept()
        elif one in self._peers:
            self._pass_on(one)

    def _accept(self) -> None:
        inner, _ = self._listener.accept()
        if self._cut:
            inner.close()
            return
        try:
            outer = socket.create_connection(self._target, timeout=5)
        except OSError:
            inner.close()
            return
        self._peers |= {inner: outer, outer: inner}
        for one in (inner, outer):
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, one: socket.socket) -> None:
        try:
            data = one.recv(65_536)
            if data:
                self._peers[one].sendall(data)
                return
        except OSError:
            pass
        self._drop(one)

    def _drop(self, one: socket.socket) -> None:
        other = self._peers.pop(one)
        self._peers.pop(other)
        for gone in (one, other):
            self._selector.unregister(gone)
            with contextlib.suppress(OSError):
                gone.shutdown(socket.SHUT_RDWR)
            gone.close()

    def _close_all(self) -> None:
        while self._peers:
            self._drop(next(iter(self._peers)))
