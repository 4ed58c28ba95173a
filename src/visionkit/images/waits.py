"""Network waits of some threads, which another thread can end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..errors import FetchError


class Waits:
    """The open connections of the threads that have joined."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: set[socket.socket] = set()
        self._ended = False

    def join(self) -> None:
        """The calling thread's connections are among these from now on."""
        _joined.waits = self

    def end(self) -> None:
        """Breaks all connections, and those still to come; looking up a host takes as long as the system lets it."""
        with self._lock:
            self._ended = True
            for stream in self._streams:
                with suppress(OSError):  # not connected yet, or no longer
                    stream.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def _watching(self, name: str) -> Iterator[Callable[[socket.socket], None]]:
        current: list[socket.socket] = []

        def let_go() -> None:
            self._streams.difference_update(current)
            while current:
                current.pop().close()

        def watch(stream: socket.socket) -> None:
            with self._lock:
                let_go()  # a thread has one connection at a time
                if self._ended:
                    raise FetchError(f"cannot load {name}: it is no longer waited for")
                current.append(stream.dup())  # TLS goes on with another object, of the same connection
                self._streams.add(current[0])

        try:
            yield watch
        finally:
            with self._lock:
                let_go()


class _Joined(threading.local):
    waits: Waits | None = None


_joined = _Joined()


@contextmanager
def endable(name: str) -> Iterator[Callable[[socket.socket], None]]:
    """Gives what each new connection must be shown to, so that the `Waits` which this thread has joined can end it.

    The one shown before is then taken as closed.

    Raises:
        FetchError: on showing, after the end.
    """
    if _joined.waits is None:
        yield lambda _: None
    else:
        with _joined.waits._watching(name) as watch:  # noqa: SLF001 - of this module
            yield watch
