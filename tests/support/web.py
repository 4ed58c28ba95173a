"""For tests of URLs: servers that say what they are told, a resolver that does, and an account of every connection."""

from __future__ import annotations

import contextlib
import functools
import io
import socket
import sys
import time

import pytest
from PIL import Image

from support.raw_server import RawServer
from visionkit.errors import FetchError
from visionkit.images import fetch, load_image

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
_HERE = ("127.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1")
_watching: list[tuple[str, object]] = []
_watched = False


def _watch(event, args):
    if _watched and event == "socket.connect":
        _watching.append(("connect", args[1]))
        if args[1][0] not in _HERE:
            raise OSError(113, "No route to host")  # no packet leaves the machine
    if _watched and event == "socket.getaddrinfo":
        _watching.append(("look up", args[0]))


TEXTS = [  # what is not plainly a URL
    "http://good.example\\@127.0.0.1/",
    "http:\\\\127.0.0.1/",
    "http://127.0.0.1\\.good.example/",
    "http://127.0.0.1/\\..",
    "http://exa\tmple.com/",
    "http://example.com/\r\nHost: x",
    "http://example.com/\n",
    "http://example.com/a b",
    " http://example.com/",
    "http://exam\x00ple.com/",
    "http://example.com/%00",
    "http://example.com%00.good.example/",
    "http://example.com\u2028/",
    "http://example.com/\u00e9.png",
    "http://example.com/\u3000",
    "http://user:pw@example.com/",
    "http://good@127.0.0.1/",
    "http://@127.0.0.1/",
    "http://user:pa@ss@127.0.0.1/",
    "http://127.0.0.1:0/",
    "http://127.0.0.1:-1/",
    "http://127.0.0.1:65536/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:999999999999/",
    "http://127.0.0.1:80:80/",
    "http://127.0.0.1:/",
    "http://127.0.0.1:٨٠/",
    "http://127.0.0.1: 80/",
    "http:/127.0.0.1/",
    "http:127.0.0.1",
    "http:///127.0.0.1/",
    "http://",
    "http://?x",
    "http://:80/",
    "http://./",
    "http://a..b/",
    "http://.example/",
    "http://-a.example/",
    f"http://{'a' * 64}.example/",
    f"http://{'a.' * 127}example/",
    "http://xn--a\u0300/",
    "http://[::1/",
    "http://::1/",
    "http://[v1.x]/",
    "http://[1::2::3]/",
    "http://[127.0.0.1]/",
    "http://a,b/",
    "http://a*b/",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "ftp://127.0.0.1/a",
    "gopher://127.0.0.1/a",
    "s3://bucket/a.png",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
    "httpx://127.0.0.1/",
    "hTTp:\u2215\u2215127.0.0.1/",
]


@functools.cache
def _start_watching():
    sys.addaudithook(_watch)  # for good: a hook cannot be taken away, so it looks only while a test of URLs runs


class Network:
    """What this process looked up and connected to, by the interpreter's own account."""

    @property
    def connects(self):
        return [address[:2] for what, address in _watching if what == "connect"]

    @property
    def lookups(self):
        return [host.decode() if isinstance(host, bytes) else host for what, host in _watching if what == "look up"]


@pytest.fixture
def network():
    global _watched  # noqa: PLW0603 - the hook's switch
    _start_watching()
    _watching.clear()
    _watched = True
    yield Network()
    _watched = False


@pytest.fixture
def picture(photo):
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def serve(picture):
    """Starts servers; without an answer of its own, one gives the picture."""
    with contextlib.ExitStack() as stack:

        def start(answer=None, **more):
            server = RawServer(whole(picture) if answer is None else answer, **more)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def answers(monkeypatch):
    """Replaces the resolver: each call takes the next list of addresses, the last one again and again."""
    asked = []

    def start(*plan):
        def getaddrinfo(host, port, *args, **more):
            asked.append(host)
            addresses = plan[min(len(asked), len(plan)) - 1]
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
                if ":" in address
                else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
                for address in addresses
            ]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return start


def whole(body, *headers):
    lines = b"".join(header.encode() + b"\r\n" for header in headers)
    return HEAD + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body


def redirect(location, status=302):
    return b"HTTP/1.1 %d Elsewhere\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, location.encode())


def endless(start, block, pause=0.0):
    def answer(connection, request):
        connection.sendall(start)
        while True:
            connection.sendall(block)
            if pause:
                time.sleep(pause)

    return answer


def refused(url, match, *, allow_private=False, error=FetchError):
    with pytest.raises(error, match=match) as caught:
        load_image(url, allow_private=allow_private)
    assert str(caught.value).replace("\u3000", " ").isprintable()
    return caught.value


def refused_soon(url, match, seconds=0.6):
    """The same for one that would never end."""
    start = time.monotonic()
    with pytest.raises(FetchError, match=match) as caught:
        fetch.fetch(url, "it", allow_private=True, seconds=seconds)
    assert time.monotonic() - start < seconds + 0.5
    return caught.value
