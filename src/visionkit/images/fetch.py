"""A URL's bytes, fetched so that neither the URL nor its server can lead anywhere else or take for ever.

The protocol is h11's, which does no input or output; each wait here is for what is left of one total time, so that
neither slow headers nor slow bodies outlast it. No proxy of the environment is used: it would resolve the host itself.
"""

from __future__ import annotations

import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import Any, Final

import h11
import truststore

from .. import __version__
from ..errors import FetchError, ImageTooLargeError
from .addresses import why_refused
from .checks import MAX_BYTES
from .urls import Url, parse_url
from .waits import endable

TOTAL_SECONDS: Final = 30.0
"""From the first look-up to the last byte, redirections included."""

CONNECT_SECONDS: Final = 10.0
"""For each address of a host."""

MAX_REDIRECTS: Final = 5

MAX_HEAD_BYTES: Final = 2**16
"""Of a response's status line and headers, of each chunk's size line, and of trailers."""

_BLOCK: Final = 2**16
_PIECE: Final = 2**20
_GOOD: Final = (200, 203)
_REDIRECTS: Final = (301, 302, 303, 307, 308)


def fetch(url: str, name: str, *, allow_private: bool = False, seconds: float = TOTAL_SECONDS) -> bytes:
    """The body behind a URL. Every host on the way is resolved once, checked, and connected to by that address.

    Args:
        url: http or https, without user and password.
        name: what to call it in errors.
        allow_private: whether it may lead to this machine or its own network; see `addresses.OWN`.
        seconds: the time for everything.

    Raises:
        FetchError: it may not be fetched, or its server does not answer, or not with a whole body.
        ImageTooLargeError: more than `MAX_BYTES`, inflated or not.
    """
    with endable(name) as watch:
        return _fetch(parse_url(url, name), _Deadline(seconds, name, watch), name, allow_private=allow_private)


def _fetch(target: Url, deadline: _Deadline, name: str, *, allow_private: bool) -> bytes:
    for _ in range(MAX_REDIRECTS + 1):
        addresses = _resolve(target, name, allow_private=allow_private)
        with _errors_of_ours(target, deadline, name), closing(_connect(target, addresses, deadline, name)) as stream:
            exchange = _Exchange(stream, deadline)
            response = exchange.ask(target)
            if response.status_code in _GOOD:
                return _whole_body(exchange, response, name)
        location = dict(response.headers).get(b"location")
        if response.status_code not in _REDIRECTS or not location:
            raise FetchError(
                f"cannot load {name}: {target.host} answered with status {response.status_code}",
                status=response.status_code,
            )
        target = target.join(location.decode("utf-8", "replace"), name)
    raise FetchError(f"cannot load {name}: it redirects more than {MAX_REDIRECTS} times")


class _Deadline:
    """The one moment at which all must be done; and `watch`, by which it may end sooner: see `endable`."""

    def __init__(self, seconds: float, name: str, watch: Callable[[socket.socket], None]) -> None:
        self.watch = watch
        self._end = time.monotonic() + seconds
        self._message = f"cannot load {name}: it took longer than {seconds:g} seconds"

    def left(self, at_most: float = float("inf")) -> float:
        """Seconds that are left, more than none."""
        left = min(at_most, self._end - time.monotonic())
        if left <= 0:
            raise FetchError(self._message)
        return left

    def passed(self) -> FetchError:
        """The error to raise where something waited for all that was left."""
        return FetchError(self._message)


@contextmanager
def _errors_of_ours(target: Url, deadline: _Deadline, name: str) -> Iterator[None]:
    """What goes wrong on the wire as our error, without its cause: h11 quotes the response, ssl the certificate."""
    try:
        yield
    except TimeoutError:
        raise deadline.passed() from None
    except ssl.SSLCertVerificationError as err:
        raise FetchError(
            f"cannot load {name}: the certificate of {target.host} is not trusted: {err.verify_message}"
        ) from None
    except OSError:
        raise FetchError(f"cannot load {name}: the connection to {target.host} broke") from None
    except (h11.RemoteProtocolError, zlib.error):
        raise FetchError(f"cannot load {name}: the response of {target.host} is malformed or cut off") from None


def _resolve(target: Url, name: str, *, allow_private: bool) -> list[tuple[int, Any]]:
    """Family and socket address of a host, in the resolver's order: asked once, and every answer checked."""
    try:
        answers = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise FetchError(f"cannot load {name}: there is no host {target.host}") from None
    for allowed in (True, allow_private):  # what is never allowed is told first
        for *_, address in answers:
            kind = why_refused(str(address[0]), allow_private=allowed)
            if kind is not None:
                hint = "" if allowed else "; load_image(…, allow_private=True) fetches from your own network"
                raise FetchError(f"cannot load {name}: {target.host} has a {kind} address, which is refused{hint}")
    return [(family, address) for family, _, _, _, address in answers]


def _connect(target: Url, addresses: list[tuple[int, Any]], deadline: _Deadline, name: str) -> socket.socket:
    """A stream to the first of the checked addresses that takes one."""
    reason = "no answer"
    for family, address in addresses:
        stream = socket.socket(family, socket.SOCK_STREAM)
        try:
            deadline.watch(stream)
            stream.settimeout(deadline.left(CONNECT_SECONDS))
            stream.connect(address)
            if target.scheme == "http":
                return stream
            stream.settimeout(deadline.left())
            return _trust().wrap_socket(stream, server_hostname=target.host)
        except BaseException as err:
            stream.close()
            if not isinstance(err, OSError) or isinstance(err, ssl.SSLError):
                raise
            deadline.left()
            reason = "no answer" if isinstance(err, TimeoutError) else (err.strerror or "no answer").lower()
    raise FetchError(f"cannot load {name}: cannot connect to {target.host}: {reason}")


@lru_cache(maxsize=1)
def _trust() -> ssl.SSLContext:
    """The certificates that the system trusts."""
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _Exchange:
    """One request and its response over a stream."""

    def __init__(self, stream: socket.socket, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)

    def ask(self, target: Url) -> h11.Response:
        """Sends the request, always the same but for host and target, and gives the head of the response."""
        headers = [
            ("Host", target.authority),
            ("User-Agent", f"visionkit/{__version__}"),
            ("Accept", "image/*, */*;q=0.5"),
            ("Accept-Encoding", "identity, gzip"),
            ("Connection", "close"),
        ]
        request = h11.Request(method="GET", target=target.target, headers=headers)
        self._stream.settimeout(self._deadline.left())
        self._stream.sendall((self._protocol.send(request) or b"") + (self._protocol.send(h11.EndOfMessage()) or b""))
        while True:
            event = self._next()
            if isinstance(event, h11.Response):
                return event

    def body(self) -> Iterator[bytes]:
        """The body as it comes, compressed or not."""
        while True:
            event = self._next()
            if isinstance(event, h11.EndOfMessage):
                return
            if isinstance(event, h11.Data):
                yield bytes(event.data)

    def _next(self) -> Any:
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            self._stream.settimeout(self._deadline.left())
            self._protocol.receive_data(self._stream.recv(_BLOCK))
        return event


def _whole_body(exchange: _Exchange, response: h11.Response, name: str) -> bytes:
    packed = _is_packed(response, name)
    if int(dict(response.headers).get(b"content-length", 0)) > MAX_BYTES:
        raise _too_large(name)
    blocks = _bounded(exchange.body(), name)
    body = bytearray()  # a list of pieces of one byte would take fifty times the memory
    for piece in _bounded(_inflate(blocks), name) if packed else blocks:
        body += piece
    return bytes(body)


def _bounded(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_BYTES:
            raise _too_large(name)
        yield piece


def _too_large(name: str) -> ImageTooLargeError:
    return ImageTooLargeError(f"cannot load {name}: it has more than {MAX_BYTES} bytes")


def _is_packed(response: h11.Response, name: str) -> bool:
    """Whether the body is gzip's; any other coding, and several, are refused: a kilobyte can be half a gigabyte."""
    said = [value.decode("latin-1") for key, value in response.headers if key == b"content-encoding"]
    codings = [coding.strip().lower() for coding in ",".join(said).split(",")]
    if codings in ([""], ["identity"]):
        return False
    if codings in (["gzip"], ["x-gzip"]):
        return True
    raise FetchError(f"cannot load {name}: its server compresses it in another way than gzip, which was not asked for")


def _inflate(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The content of a gzip file in pieces of at most 1 MiB; what follows its end is not read."""
    inflate = zlib.decompressobj(wbits=31)
    for block in blocks:
        rest = block
        while rest:  # what is held back comes with the next block: the checksum is last
            yield inflate.decompress(rest, _PIECE)
            rest = inflate.unconsumed_tail
            if inflate.eof:
                return
    raise zlib.error("cut off")
