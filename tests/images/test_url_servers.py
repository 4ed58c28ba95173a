"""Servers that misbehave: an error of ours, in time, that does not quote them."""

import gzip
import socket
import time
import traceback
import zlib

import numpy as np
import pytest

from support.web import HEAD, endless, redirect, refused, refused_soon, whole
from visionkit.errors import ImageDecodeError, ImageTooLargeError
from visionkit.images import fetch

pytestmark = pytest.mark.usefixtures("network")


# Servers that misbehave

MALFORMED = {
    "nothing": b"",
    "no HTTP": b"secret-phrase\r\n\r\n",
    "HTTP/0.9": b"<html>secret-phrase",
    "no status": b"HTTP/1.1 secret-phrase\r\n\r\n",
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\nsecret-phrase",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nsecret-phrase",
    "a length that is no number": HEAD + b"Content-Length: secret-phrase\r\n\r\n",
    "a length too long": HEAD + b"Content-Length: 100\r\n\r\nsecret-phrase",
    "an open chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
    "a bad chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nsecret-phrase\r\nabc",
    "a transfer coding": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\nsecret-phrase",
    "a 101": b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "headers without end": HEAD,
    "200,000 headers": HEAD + b"X: secret-phrase\r\n" * 200_000 + b"\r\n",
    "a header of 50 MB": HEAD + b"X: " + b"a" * 50_000_000 + b"\r\n\r\n",
    "a folded header of 1 MB": HEAD + b"X: a\r\n" + b" secret-phrase\r\n" * 70_000 + b"\r\n",
    "a chunk line of 1 MB": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a" * 1_000_000,
    "trailers of 1 MB": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: secret-phrase\r\n" * 60_000,
    "half a gzip": whole(gzip.compress(bytes(1000))[:-9], "Content-Encoding: gzip"),
    "gzip that is none": whole(b"secret-phrase", "Content-Encoding: gzip"),
    "gzip of nothing": whole(b"", "Content-Encoding: gzip"),
    "gzip with a wrong sum": whole(gzip.compress(b"abc")[:-8] + bytes(8), "Content-Encoding: gzip"),
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_response_is_an_error_that_does_not_quote_it(answer, serve):
    server = serve(answer)
    # A server that is not read to its end may also see its connection reset.
    error = refused(server.url, "localhost (is malformed or cut off|broke)$", allow_private=True)
    assert "secret-phrase" not in "".join(traceback.format_exception(error))
    assert server.connections == 1


def test_a_length_too_short_cuts_the_picture(serve, picture):
    server = serve(HEAD + b"Content-Length: 100\r\n\r\n" + picture)
    refused(server.url, "damaged or cut off", allow_private=True, error=ImageDecodeError)


def test_an_empty_body(serve):
    refused(serve(whole(b"")).url, "is empty", allow_private=True, error=ImageDecodeError)


@pytest.mark.parametrize(
    "coding", ["br", "zstd", "deflate", "compress", "gzip, gzip", "identity, gzip", "gzip\r\nContent-Encoding: br", "x"]
)
def test_other_codings_are_refused_before_the_body(coding, serve):
    bomb = HEAD + f"Content-Encoding: {coding}\r\n\r\n".encode()
    refused(serve(bomb).url, "compresses it in another way than gzip", allow_private=True)


def gzip_bomb(size):
    """`size` zeros, in pieces so that this does not take their memory."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(size >> 20)) + packer.flush()


def test_a_gzip_bomb_is_stopped_at_the_limit(serve, monkeypatch):
    largest = []

    class Watched(bytearray):
        def __iadd__(self, piece):
            largest.append(len(piece))
            return super().__iadd__(piece)

    monkeypatch.setattr(fetch, "bytearray", Watched, raising=False)
    monkeypatch.setattr(fetch, "MAX_BYTES", 8 * 2**20)
    server = serve(whole(gzip_bomb(128 * 2**20), "Content-Encoding: gzip"))
    refused(server.url, "it has more than 8388608 bytes", allow_private=True, error=ImageTooLargeError)
    assert max(largest) <= 2**20
    assert sum(largest) <= 8 * 2**20


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_as_large_as_the_limit_is_whole(packed, serve, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_BYTES", 3 * 2**20)
    for size in (2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20):
        body = np.random.default_rng(size).integers(0, 4, size, np.uint8).tobytes()
        server = serve(whole(gzip.compress(body, 1), "Content-Encoding: gzip") if packed else whole(body))
        assert fetch.fetch(server.url, "it", allow_private=True) == body
    over = bytes(3 * 2**20 + 1)
    server = serve(whole(gzip.compress(over), "Content-Encoding: gzip") if packed else HEAD + b"\r\n" + over)
    refused(server.url, "it has more than", allow_private=True, error=ImageTooLargeError)


def test_a_length_over_the_limit_is_not_waited_for(serve):
    server = serve(HEAD + b"Content-Length: 999999999999999999\r\n\r\n")
    refused(server.url, "it has more than 536870912 bytes", allow_private=True, error=ImageTooLargeError)


@pytest.mark.parametrize("empty_gzip", [False, True])
def test_an_endless_body_is_stopped_at_the_limit(empty_gzip, serve, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_BYTES", 2**22)
    start = HEAD + b"Transfer-Encoding: chunked\r\n"
    block = b"\0\0\0\xff\xff" * 2000  # stored deflate blocks of no bytes: for ever, and nothing comes out
    if empty_gzip:
        start += b"Content-Encoding: gzip\r\n\r\na\r\n\x1f\x8b\x08\0\0\0\0\0\0\xff\r\n"
    else:
        start += b"\r\n"
    server = serve(endless(start, b"%x\r\n%s\r\n" % (len(block), block)))
    refused(server.url, "it has more than 4194304 bytes", allow_private=True, error=ImageTooLargeError)


SLOW = {
    "no answer": endless(b"", b"", 0.02),
    "slow headers": endless(HEAD, b"X: y\r\n", 0.02),
    "a slow status line": endless(b"", b"H", 0.02),
    "a slow body": endless(HEAD + b"\r\n", b"x", 0.02),
    "slow chunks": endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.02),
    "slow gzip": endless(HEAD + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\0\0\0\xff\xff", 0.02),
    "slow 100 Continue": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),
    "endless 100 Continue": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "slow redirections": lambda c, r: (time.sleep(0.25), c.sendall(redirect("/"))),
}


@pytest.mark.parametrize("answer", SLOW.values(), ids=SLOW)
def test_one_time_for_all(answer, serve):
    refused_soon(serve(answer).url, "it took longer than 0.6 seconds")


def test_a_server_that_takes_no_connection(network):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = []
        try:
            for _ in range(8):  # more than its queue holds
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)  # noqa: FBT003 - the socket's own signature
                waiting[-1].connect_ex(("127.0.0.1", port))
            refused_soon(f"http://127.0.0.1:{port}/", "it took longer than 0.6 seconds|no answer")
        finally:
            for one in waiting:
                one.close()


def test_a_closed_port(network):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    refused(f"http://127.0.0.1:{port}/", "cannot connect to 127.0.0.1: connection refused", allow_private=True)


def test_a_reset_connection(serve):
    def reset(connection, request):
        connection.sendall(HEAD)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    refused(serve(reset).url, "the connection to localhost broke", allow_private=True)


def test_a_host_that_is_none(answers, monkeypatch):
    def nobody(*args, **more):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    refused("http://nobody.example/", "there is no host nobody.example")
    answers([])
    refused("http://nobody.example/", "cannot connect to nobody.example: no answer")
