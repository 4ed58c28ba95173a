"""What comes of a URL: the picture, and nothing else changed or left behind. Real servers, on loopback."""

import gzip
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import traceback

import numpy as np
import pytest

import visionkit as vk
from support.web import HEAD, endless, redirect, refused, refused_soon, whole
from visionkit.errors import FetchError
from visionkit.images import fetch, load_image

pytestmark = pytest.mark.usefixtures("network")


def test_a_picture_behind_a_url(serve, network, photo):
    server = serve()
    loaded = load_image(f"{server.url}/a/cat.png?size=2#top", allow_private=True)
    assert np.array_equal(np.asarray(loaded), photo)
    assert server.connections == 1
    assert network.lookups == ["localhost"]
    assert {port for _, port in network.connects} == {server.port}
    first, *headers = server.requests[0].decode().split("\r\n")
    assert first == "GET /a/cat.png?size=2 HTTP/1.1"
    assert [line for line in headers if line] == [
        f"Host: localhost:{server.port}",
        f"User-Agent: visionkit/{vk.__version__}",
        "Accept: image/*, */*;q=0.5",
        "Accept-Encoding: identity, gzip",
        "Connection: close",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        lambda p: HEAD + b"Content-Type: text/html\r\n\r\n" + p,  # to the end of the connection; the type says nothing
        lambda p: b"HTTP/1.0 200 OK\r\n\r\n" + p,
        lambda p: whole(p, "Content-Encoding: identity"),
        lambda p: whole(gzip.compress(p), "Content-Encoding: GZIP"),
        lambda p: whole(gzip.compress(p), "Content-Encoding: x-gzip"),
        lambda p: whole(gzip.compress(p) + b"more", "Content-Encoding: gzip"),
        lambda p: HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(p), p),
        lambda p: HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"1\r\n%c\r\n" % c for c in p) + b"0\r\n\r\n",
        lambda p: b"HTTP/1.1 100 Continue\r\n\r\n" * 2000 + whole(p),
        lambda p: whole(p).replace(b"200 OK", b"203 Changed"),
        lambda p: whole(p) + b"HTTP/1.1 200 OK\r\n\r\nanother",
    ],
)
def test_ways_to_send_a_picture(answer, serve, picture, photo):
    loaded = load_image(serve(answer(picture)).url, allow_private=True)
    assert np.array_equal(np.asarray(loaded), photo)


def test_one_byte_at_a_time(serve, picture, photo):
    def dribble(connection, request):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in whole(picture):
            connection.sendall(bytes([byte]))

    assert np.array_equal(np.asarray(load_image(serve(dribble).url, allow_private=True)), photo)


def test_ipv6_and_a_host_of_two_addresses(serve, answers, photo, network):
    try:
        server = serve(host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    loaded = load_image(f"http://[::1]:{server.port}/", allow_private=True)
    assert np.array_equal(np.asarray(loaded), photo)
    assert f"Host: [::1]:{server.port}\r\n".encode() in server.requests[0]
    answers(["127.0.0.1", "::1"])  # nobody listens on the first
    load_image(f"http://two.example:{server.port}/", allow_private=True)
    assert network.connects[-2:] == [("127.0.0.1", server.port), ("::1", server.port)]
    assert f"Host: two.example:{server.port}\r\n".encode() in server.requests[1]


def test_urls_are_sources_like_any_other(serve, photo):
    server = serve()
    found = vk.classify([f"{server.url}/cat.png?key=hunter2", photo], on_error="return")
    assert isinstance(found[0], vk.Failure)  # a verb never fetches from one's own network
    assert found[0].source.startswith(f"{server.url}/cat.png?…")
    assert "hunter2" not in repr(found[0])
    assert "loopback" in str(found[0].error)
    assert found[1].label
    assert server.connections == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for `localhost`, signed by itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    folder = tmp_path_factory.mktemp("tls")
    key, file = folder / "key.pem", folder / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    extra = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(file)]
    subprocess.run([*command.split(), *extra], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return file, context


@pytest.fixture
def trusted(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    fetch._trust.cache_clear()
    yield certificate[1]
    fetch._trust.cache_clear()


def test_https_with_a_trusted_certificate(trusted, serve, answers, photo):
    names = []
    trusted.sni_callback = lambda connection, name, context: names.append(name)
    server = serve(tls=trusted)
    answers(["127.0.0.1"])
    loaded = load_image(f"https://LOCALHOST.:{server.port}/", allow_private=True)
    assert np.array_equal(np.asarray(loaded), photo)
    assert names == ["localhost"]  # the name, though the address was connected to
    assert f"Host: localhost:{server.port}\r\n".encode() in server.requests[0]
    with pytest.raises(FetchError, match="the certificate of other.example is not trusted: Hostname mismatch"):
        load_image(f"https://other.example:{server.port}/", allow_private=True)


def test_https_without(certificate, serve):
    fetch._trust.cache_clear()
    server = serve(tls=certificate[1])
    match = "the certificate of localhost is not trusted: self-signed certificate"
    error = refused(server.url, match, allow_private=True)
    assert server.requests == []
    assert "SSL" not in "".join(traceback.format_exception(error))


def test_https_is_not_left_again(trusted, serve):
    plain = serve()
    server = serve(redirect(plain.url), tls=trusted)
    refused(server.url, "it redirects from https to http, which is not followed", allow_private=True)
    assert (server.connections, plain.connections) == (1, 0)
    first = serve(redirect(server.url))
    refused(first.url, "from https to http", allow_private=True)
    server.answer = plain.answer
    load_image(first.url, allow_private=True)
    assert plain.connections == 0


def test_https_of_a_server_without_it(serve):
    server = serve(b"HTTP/1.1 400 secret-phrase\r\n\r\n", reads=False)
    error = refused(server.url.replace("http", "https"), "localhost", allow_private=True)
    assert "secret-phrase" not in "".join(traceback.format_exception(error))


def test_a_handshake_that_never_ends(serve):
    silent = serve(endless(b"", b"", 0.02), reads=False)
    refused_soon(silent.url.replace("http", "https"), "it took longer than 0.6 seconds")
    silent = serve(endless(b"\x16\x03\x03\x3f\xff", b"\2", 0.02), reads=False)
    refused_soon(silent.url.replace("http", "https"), "it took longer than 0.6 seconds|broke")


def descriptors():
    return len(os.listdir("/dev/fd"))


def test_nothing_is_left_behind(serve, picture):
    good, bad, slow = serve(), serve(b"HTTP/1.1 404 No\r\n\r\n"), serve(endless(HEAD + b"\r\n", b"x", 0.02))
    load_image(good.url, allow_private=True)  # what is imported and cached once
    before = threading.active_count(), descriptors()
    for _ in range(3):
        load_image(good.url, allow_private=True)
        refused(bad.url, "404", allow_private=True)
        refused_soon(slow.url, "longer", 0.1)
    for server in (good, bad, slow):
        server.close()
    closed = 3  # the listeners
    assert threading.active_count() <= before[0] - closed
    assert descriptors() <= before[1] - closed


def test_threads_fetch_side_by_side(serve, picture):
    meeting = threading.Barrier(4, timeout=10)

    def answer(connection, request):
        meeting.wait()  # breaks unless four are here at once
        connection.sendall(whole(picture))

    server = serve(answer)
    threads = [
        threading.Thread(target=load_image, args=(server.url,), kwargs={"allow_private": True}) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not meeting.broken
    assert server.connections == 4


def test_nothing_of_the_network_is_imported_before_a_url_comes():
    code = """
import sys
import visionkit.images
heavy = {"h11", "truststore", "ssl", "idna", "httpx2", "httpcore2"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
try:
    visionkit.images.load_image("http://127.0.0.1/")
except visionkit.VisionkitError as error:
    assert "loopback" in str(error), error
assert "h11" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
