"""Redirections: each hop is a URL like the first."""

import traceback

import numpy as np
import pytest

from support.web import TEXTS, redirect, refused
from visionkit.images import load_image

pytestmark = pytest.mark.usefixtures("network")


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
        "///127.0.0.1/",  # a path to urljoin, a host to browsers
        "//",
        "/a\tb.png",  # urljoin drops the tab
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
