"""URLs: what is fetched, what is refused, and that nobody else is ever connected to. Real servers, on loopback."""

import contextlib
import gzip
import io
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
import zlib

import numpy as np
import pytest
from PIL import Image

import visionkit as vk
from support.raw_server import RawServer
from visionkit.errors import FetchError, ImageDecodeError, ImageTooLargeError, SourceError
from visionkit.images import describe, fetch, load_image
from visionkit.images.addresses import METADATA

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
_watching: list[tuple[str, object]] = []
_watched = False


def _watch(event, args):
    if _watched and event == "socket.connect":
        _watching.append(("connect", args[1]))
        if args[1][0] not in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1"):
            raise OSError(113, "No route to host")  # no packet leaves the machine
    if _watched and event == "socket.getaddrinfo":
        _watching.append(("look up", args[0]))


sys.addaudithook(_watch)  # for good: a hook cannot be taken away, so it looks only while a test here runs


class Network:
    """What this process looked up and connected to, by the interpreter's own account."""

    @property
    def connects(self):
        return [address[:2] for what, address in _watching if what == "connect"]

    @property
    def lookups(self):
        return [host.decode() if isinstance(host, bytes) else host for what, host in _watching if what == "look up"]


@pytest.fixture(autouse=True)
def network():
    global _watched  # noqa: PLW0603 - the hook's switch
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


def whole(body, *headers):
    lines = b"".join(header.encode() + b"\r\n" for header in headers)
    return HEAD + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body


def redirect(location, status=302):
    return b"HTTP/1.1 %d Elsewhere\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, location.encode())


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


# What is fetched


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
    assert found[0].source == f"{server.url}/cat.png"
    assert "loopback" in str(found[0].error)
    assert found[1].label
    assert server.connections == 0


# Addresses

FORMS = {  # how a URL may name this machine → whether it loads with allow_private=True
    "127.0.0.1": True,
    "127.1": True,
    "127.0.1": True,
    "2130706433": True,
    "0x7f000001": True,
    "0X7F.0.0.1": True,
    "017700000001": True,
    "0177.0.0.1": True,
    "00000000000000000177.0.0.1": True,
    "localhost": True,
    "LOCALHOST": True,
    "localhost.": True,
    "127.0.0.1.": True,
    "[::ffff:127.0.0.1]": True,
    "[::ffff:7f00:1]": True,
    "0": False,
    "0.0.0.0": False,  # noqa: S104 - not bound to
    "[::]": False,
    "[::127.0.0.1]": False,
    "[::1%lo]": False,
    "[::1%25lo]": False,
    "[fe80::1%lo]": False,
    "①②⑦.⓪.⓪.①": False,
    "127。0。0。1": False,
    "ⓛocalhost": False,
    "localhost..": False,
    "127.0.0.1%00": False,
    "127.0.0.1%2f": False,
}


@pytest.mark.parametrize(("host", "loads"), FORMS.items())
def test_every_name_of_this_machine(host, loads, serve, network):
    server = serve()
    url = f"http://{host}:{server.port}/a.png"
    refused(url, f"cannot load {'.*'}a\\.png: ")
    assert server.connections == 0
    assert network.connects == []
    assert len(network.lookups) <= 1
    if loads:
        load_image(url, allow_private=True)
        assert server.connections == 1
    else:
        refused(url, "cannot load", allow_private=True)
        assert server.connections == 0
        assert network.connects == []


@pytest.mark.parametrize("allow_private", [False, True])
@pytest.mark.parametrize(
    "addresses",
    [
        *([address] for address in sorted(map(str, METADATA))),
        ["::ffff:169.254.169.254"],
        ["::ffff:a9fe:a9fe"],
        ["64:ff9b::a9fe:a9fe"],
        ["64:ff9b:1::a9fe:a9fe"],
        ["2002:a9fe:a9fe::"],
        ["2606:4700::5efe:169.254.169.254"],
        ["93.184.216.34", "169.254.169.254"],
        ["127.0.0.1", "fd00:ec2::254"],
        ["224.0.0.1"],
        ["fe80::1%lo"],
        ["no address"],
    ],
    ids=str,
)
def test_metadata_and_nobodys_addresses_are_refused_always(addresses, allow_private, serve, answers, network):
    server = serve()
    answers(addresses)
    error = refused(f"http://innocent.example:{server.port}/", "innocent.example has a", allow_private=allow_private)
    assert "allow_private=True" not in str(error)
    assert all(address not in str(error) for address in addresses)  # nor is it told what is where
    assert network.connects == []
    assert server.connections == 0


@pytest.mark.parametrize("order", [1, -1])
def test_one_private_answer_among_public_ones_refuses_all(order, serve, answers, network):
    server = serve()
    asked = answers(["93.184.216.34", "127.0.0.1"][::order])
    refused(f"http://mixed.example:{server.port}/", "mixed.example has a loopback address.*allow_private=True")
    assert asked == ["mixed.example"]
    assert network.connects == []


def test_a_name_is_resolved_once_and_the_checked_address_connected_to(serve, answers, network):
    canary = serve()
    asked = answers(["93.184.216.34"], ["127.0.0.1"])
    refused(f"http://rebind.example:{canary.port}/", "cannot connect to rebind.example: no route to host")
    assert asked == ["rebind.example"]
    assert network.connects == [("93.184.216.34", canary.port)]
    assert canary.connections == 0


def test_each_hop_is_resolved_once_and_checked(serve, answers, network):
    server = serve(redirect("/again"))
    asked = answers(["127.0.0.1"], ["127.0.0.1"], ["169.254.169.254"])
    refused(f"http://rebind.example:{server.port}/", "has a cloud metadata address", allow_private=True)
    assert asked == ["rebind.example"] * 3
    assert network.connects == [("127.0.0.1", server.port)] * 2
    assert server.connections == 2


# Texts

TEXTS = [
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


@pytest.mark.parametrize("allow_private", [False, True])
@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_what_is_not_plainly_a_url_is_not_even_looked_up(text, allow_private, network):
    refused(text, "cannot load", allow_private=allow_private)
    assert network.lookups == []
    assert network.connects == []


@pytest.mark.parametrize(
    "text",
    ["//127.0.0.1/a.png", "\\\\host\\share\\a.png", "javascript:alert(1)", "jar:http://127.0.0.1/a!/b", "h:\\a.png"],
)
def test_what_is_no_url_is_a_path_or_refused(text, network):
    refused(text, "cannot load", allow_private=True, error=SourceError)
    assert network.lookups == []


def test_the_last_of_two_hosts_in_a_fragment_does_not_count(serve, network):
    server = serve()
    load_image(f"http://127.0.0.1:{server.port}#@good.example/", allow_private=True)
    assert network.lookups == ["127.0.0.1"]
    assert server.requests[0].startswith(b"GET / HTTP/1.1\r\n")


def test_a_host_in_its_own_script_is_looked_up_in_ascii(answers, network):
    asked = answers(["127.0.0.1"])
    refused("http://BÜCHER.example/", "xn--bcher-kva.example has a loopback")
    assert asked == ["xn--bcher-kva.example"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:hunter2@example.com/a.jpg?key=hunter2#hunter2", "https://example.com/a.jpg"),
        ("https://hunter2@example.com/a.jpg", "https://example.com/a.jpg"),
        ("https://me:hun@hunter2@example.com/a.jpg", "https://example.com/a.jpg"),
        ("https://me:hun/hunter2@example.com/a.jpg", "https://example.com/a.jpg"),
        ("https://me:hun?hunter2@example.com/a.jpg", "https://example.com/a.jpg"),
        ("HTTPS:\\\\me:hunter2@example.com/a.jpg", "HTTPS:\\\\example.com/a.jpg"),
        ("https:me:hunter2@example.com/a.jpg", "https:example.com/a.jpg"),
        (" https://me:hunter2@example.com/a.jpg", " https://example.com/a.jpg"),
        ("ftp://me:hunter2@example.com/a.jpg", "ftp://example.com/a.jpg"),
        ("https://example.com/@me/a.jpg?w=1", "https://example.com/@me/a.jpg"),
        ("https://example.com:443/@me/a.jpg", "https://example.com:443/@me/a.jpg"),
        ("https://[2600::]:443/@me/a.jpg", "https://[2600::]:443/@me/a.jpg"),
    ],
)
def test_secrets_of_a_url_are_shown_nowhere(url, shown, answers):
    answers(["127.0.0.1"])
    assert describe(url) == shown
    error = refused(url, "cannot load")
    assert f"cannot load {shown}: " in str(error)
    assert "hunter2" not in "".join(traceback.format_exception(error)).split("load_image(", 1)[0]
    assert "hunter2" not in str(error)


def test_a_path_with_an_at_or_a_question_mark_is_shown_whole():
    assert describe("a/me@home/is it?.png") == "a/me@home/is it?.png"


# Redirections


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirection_is_followed(status, serve, photo):
    last = serve()
    first = serve(redirect(f"{last.url}/b?c", status))
    assert np.array_equal(np.asarray(load_image(first.url, allow_private=True)), photo)
    assert (first.connections, last.connections) == (1, 1)
    assert last.requests[0].startswith(b"GET /b?c HTTP/1.1\r\n")
    assert last.requests[0].replace(b"/b?c", b"/").replace(b"%d" % last.port, b"%d" % first.port) == first.requests[0]


@pytest.mark.parametrize(
    ("location", "path"),
    [("b", b"/a/b"), ("/b", b"/b"), ("../b", b"/b"), ("?b", b"/a/x?b"), ("//localhost:{port}/b", b"/b")],
)
def test_relative_redirections(location, path, serve):
    server = serve()
    good = server.answer

    def answer(connection, request):
        first = b"/a/x " in request
        connection.sendall(redirect(location.format(port=server.port)) if first else good)

    server.answer = answer
    load_image(f"{server.url}/a/x", allow_private=True)
    assert [request.split()[1] for request in server.requests] == [b"/a/x", path]


@pytest.mark.parametrize(
    "location",
    [
        *(text for text in TEXTS if "\n" not in text and not text.startswith(" ")),  # which no header can hold
        "http://169.254.169.254/latest/meta-data/",
        "//169.254.169.254/",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:169.254.169.254]/",
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
    ],
    ids=ascii,
)
def test_a_redirection_to_what_would_be_refused_is_refused(location, serve, network):
    server = serve(redirect(location))
    text = str(refused(f"{server.url}/a.png", "cannot load .*/a.png: ", allow_private=True))
    assert "latest" not in text
    assert server.connections == 1
    assert len(network.connects) <= 2  # localhost may have two addresses
    assert {port for _, port in network.connects} == {server.port}


@pytest.mark.parametrize("hops", [5, 6])
def test_five_redirections_and_no_more(hops, serve):
    server = serve()
    good = server.answer

    def answer(connection, request):
        at = int(request.split()[1].strip(b"/") or 0)
        connection.sendall(good if at == hops else redirect(f"/{at + 1}"))

    server.answer = answer
    if hops == 5:
        load_image(server.url, allow_private=True)
    else:
        refused(server.url, "it redirects more than 5 times", allow_private=True)
    assert server.connections == 6


def test_a_loop_ends(serve):
    server = serve(redirect("/"))
    refused(server.url, "redirects more than 5 times", allow_private=True)
    assert server.connections == 6


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", 302),
        (b"HTTP/1.1 302 Found\r\nLocation:\r\nContent-Length: 0\r\n\r\n", 302),
        (redirect("/b", 300), 300),
        (redirect("/b", 304), 304),
        (redirect("/b", 404), 404),
        (b"HTTP/1.1 500 secret-phrase\r\nX: secret-phrase\r\nContent-Length: 13\r\n\r\nsecret-phrase", 500),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nx", 206),
        (b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", 401),
    ],
)
def test_other_answers_are_told_by_host_and_status_alone(answer, status, serve):
    server = serve(answer)
    error = refused(
        f"{server.url}/a.png?key=hunter2", f"a.png: localhost answered with status {status}$", allow_private=True
    )
    assert error.status == status
    assert server.connections == 1
    assert "secret-phrase" not in "".join(traceback.format_exception(error))


def test_cookies_and_credentials_go_nowhere(serve, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine localhost login me password hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    last = serve()
    first = serve(redirect(last.url).replace(b"\r\n", b"\r\nSet-Cookie: a=b\r\nRefresh: 0\r\n", 1))
    load_image(first.url, allow_private=True)
    for request in (*first.requests, *last.requests):
        assert b"cookie" not in request.lower()
        assert b"authorization" not in request.lower()
        assert b"referer" not in request.lower()


def test_no_proxy_of_the_environment_is_asked(serve, monkeypatch):
    proxy, server = serve(), serve()
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    refused("http://169.254.169.254/latest/", "cloud metadata", allow_private=True)
    load_image(server.url, allow_private=True)
    assert (proxy.connections, server.connections) == (0, 1)


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
    server = serve(whole(gzip_bomb(512 * 2**20), "Content-Encoding: gzip"))
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


def endless(start, block, pause=0.0):
    def answer(connection, request):
        connection.sendall(start)
        while True:
            connection.sendall(block)
            if pause:
                time.sleep(pause)

    return answer


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


# TLS


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
    refused(server.url, "the certificate of localhost is not trusted: self-signed certificate", allow_private=True)
    assert server.requests == []


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


# The process


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
