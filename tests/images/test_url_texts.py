"""URLs by their text and their addresses: what is refused before anybody is connected to."""

import hashlib
import re
import traceback

import pytest

from support.web import TEXTS, redirect, refused
from visionkit.errors import SourceError
from visionkit.images import describe, load_image
from visionkit.images.addresses import METADATA
from visionkit.images.sources import name_for_error

pytestmark = pytest.mark.usefixtures("network")


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
    assert describe(url).partition("?…")[0] == shown
    assert "hunter2" not in describe(url)
    error = refused(url, "cannot load")
    assert f"cannot load {shown}: " in str(error)
    assert "hunter2" not in "".join(traceback.format_exception(error)).split("load_image(", 1)[0]
    assert "hunter2" not in str(error)


def test_two_queries_are_two_names_that_tell_neither():
    names = [
        describe(f"https://me:pw@example.com/a.jpg{end}") for end in ("?id=1", "?id=2", "?id=1#part", "", "?", "#1")
    ]
    assert names[0] == names[2] != names[1]
    assert all(re.fullmatch(r"https://example\.com/a\.jpg\?…[0-9a-f]{8}", name) for name in names[:3])
    plain = hashlib.sha256(b"id=1").hexdigest()
    assert plain[:8] not in names[0], "a short secret could be guessed"
    assert set(names[3:]) == {"https://example.com/a.jpg"}
    assert name_for_error("https://example.com/a.jpg?id=1") == "https://example.com/a.jpg"


def test_a_path_with_an_at_or_a_question_mark_is_shown_whole():
    assert describe("a/me@home/is it?.png") == "a/me@home/is it?.png"


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
