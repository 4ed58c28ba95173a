"""What watching connections costs: a descriptor for the one that there is, and none afterwards."""

import os
import socket
import threading

import pytest

from visionkit.errors import FetchError
from visionkit.images import fetch
from visionkit.images.waits import Waits, endable


@pytest.fixture
def shut():
    """A port of this machine that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_addresses_that_refuse_keep_no_descriptor(monkeypatch, shut):
    address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", shut))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [address] * 300)
    counts, errors, connect = [], [], socket.socket.connect

    def counted(stream, where):
        counts.append(descriptors())
        return connect(stream, where)

    monkeypatch.setattr(socket.socket, "connect", counted)

    def work():
        Waits().join()
        try:
            fetch.fetch("http://many.example/a.png", "it", allow_private=True)
        except FetchError as err:
            errors.append(err)

    before = descriptors()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(counts) == 300
    assert max(counts) - before <= 4
    assert "connection refused" in str(errors[0])
    assert descriptors() == before


def test_the_end_breaks_the_connection_that_there_is_and_those_to_come():
    waits, done = Waits(), threading.Event()
    seen = []

    def work():
        waits.join()
        with endable("it") as watch:
            for pair in pairs:
                watch(pair[0])
            done.set()
            seen.append(pairs[-1][0].recv(1))
            with pytest.raises(FetchError, match="it is no longer waited for"):
                watch(pairs[0][0])

    pairs = [socket.socketpair() for _ in range(3)]
    thread = threading.Thread(target=work)
    thread.start()
    assert done.wait(10)
    waits.end()
    thread.join(10)
    assert seen == [b""]
    pairs[0][0].sendall(b"x")  # what is watched no longer is left alone
    for pair in pairs:
        for stream in pair:
            stream.close()
