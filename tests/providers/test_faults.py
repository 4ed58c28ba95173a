"""What goes wrong at a vendor: which error it becomes, and how often it is tried."""

from __future__ import annotations

import copy
import pickle
import random
import socket
import sys
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
from pydantic import SecretStr

import visionkit as vk
from visionkit.errors import (
    AnswerError,
    AuthenticationError,
    InputError,
    MissingExtraError,
    ProviderError,
    RateLimitError,
    RequestError,
    UnavailableError,
)
from visionkit.providers.faults import Fault, clean, retry_after_seconds
from visionkit.providers.keys import check_base_url, is_loopback
from visionkit.providers.retry import pause_seconds, with_retries
from visionkit.tasks.ask import ask

WIRES = ["openai", "openai-chat", "anthropic"]
PIXELS = np.zeros((6, 10, 3), np.uint8)
AT_ONCE = {"retry-after": "0"}


def said(message):
    return {"type": "error", "error": {"type": "some_error", "message": message, "code": None}}


@pytest.mark.parametrize("prefix", WIRES)
@pytest.mark.parametrize(
    ("status", "kind", "attempts", "text"),
    [
        (400, RequestError, 1, "the server refuses the request"),
        (401, AuthenticationError, 1, "the server refuses the API key"),
        (403, AuthenticationError, 1, "the server refuses the API key"),
        (404, RequestError, 1, "the server refuses the request"),
        (408, UnavailableError, 3, "the server failed"),
        (413, RequestError, 1, "the server refuses the request"),
        (429, RateLimitError, 3, "the server asks to slow down"),
        (500, UnavailableError, 3, "the server failed"),
        (503, UnavailableError, 3, "the server failed"),
        (529, UnavailableError, 3, "the server failed"),
    ],
)
def test_a_status_becomes_an_error(vendor, connect, prefix, status, kind, attempts, text):  # noqa: PLR0917
    headers = {**AT_ONCE, "x-request-id": "req_7", "request-id": "req_7"}
    vendor.fail(status, times=9, headers=headers, body=said("because\r\nof \x1b[31mthis" + "!" * 999))
    with pytest.raises(kind) as caught:
        ask(PIXELS, "What?", model=connect(prefix))
    assert type(caught.value) is kind
    assert len(vendor.seen) == attempts
    count = f"{attempts} attempts" if attempts > 1 else "1 attempt"
    message = str(caught.value)
    assert message.startswith(
        f"{prefix}:some-model: {text} (status {status}, request req_7, {count}): because of [31mthis!!"
    )
    assert message.isprintable()
    assert len(message.partition("): ")[2]) == 300
    assert (caught.value.status, caught.value.request_id) == (status, "req_7")
    if kind is RateLimitError:
        assert caught.value.retry_after_seconds == 0.0


@pytest.mark.parametrize("prefix", WIRES)
@pytest.mark.parametrize(("failures", "attempts"), [(1, 2), (2, 3)])
def test_a_later_attempt_answers(vendor, connect, prefix, failures, attempts):
    vendor.fail(429, times=failures, headers=AT_ONCE, body=said("wait"))
    assert ask(PIXELS, "What?", model=connect(prefix)).text == "a cat"
    assert len(vendor.seen) == attempts
    assert vendor.seen[0].body == vendor.seen[-1].body


@pytest.mark.parametrize("max_attempts", [1, 2, 5])
def test_attempts_are_as_many_as_configured(vendor, connect, max_attempts):
    vendor.fail(500, times=9, headers=AT_ONCE, body=said("no"))
    with pytest.raises(UnavailableError):
        ask(PIXELS, "What?", model=connect("openai", max_attempts=max_attempts))
    assert len(vendor.seen) == max_attempts


def test_a_long_pause_is_the_callers_to_make(vendor, connect):
    vendor.fail(429, times=9, headers={"retry-after": "3600"}, body=said("tomorrow"))
    with pytest.raises(RateLimitError) as caught:
        ask(PIXELS, "What?", model=connect("openai"))
    assert caught.value.retry_after_seconds == 3600
    assert len(vendor.seen) == 1


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({**AT_ONCE, "x-should-retry": "false"}, said("no use")),
        (AT_ONCE, {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}),
    ],
)
def test_what_no_attempt_can_help_is_tried_once(vendor, connect, headers, body):
    vendor.fail(429, times=9, headers=headers, body=body)
    with pytest.raises(RateLimitError, match=r"1 attempt\): "):
        ask(PIXELS, "What?", model=connect("openai"))
    assert len(vendor.seen) == 1


@pytest.mark.parametrize("prefix", WIRES)
def test_a_connection_that_breaks_is_tried_again(vendor, connect, prefix):
    vendor.fail(0, how="cut")
    assert ask(PIXELS, "What?", model=connect(prefix, max_attempts=2)).text == "a cat"
    vendor.fail(0, how="cut")
    with pytest.raises(UnavailableError, match=r"cannot be reached or broke off \(\w+\) \(1 attempt\)"):
        ask(PIXELS, "What?", model=connect(prefix, max_attempts=1))
    assert len(vendor.seen) == 3


@pytest.mark.parametrize("prefix", WIRES)
@pytest.mark.parametrize(("how", "text"), [("hang", "no answer came in time"), ("drip", "the reply came too slowly")])
def test_a_server_that_does_not_finish_is_left_and_not_billed_twice(vendor, connect, prefix, how, text):
    vendor.fail(200, how=how)
    with pytest.raises(UnavailableError, match=f"{text}; a larger timeout_seconds="):
        ask(PIXELS, "What?", model=connect(prefix, timeout_seconds=0.3))
    assert len(vendor.seen) == 1


@pytest.mark.parametrize("prefix", WIRES)
def test_a_server_that_takes_no_connection_is_tried_again(monkeypatch, prefix):
    """A full queue of connections, as of a machine behind a firewall: nothing was sent, so nothing is billed twice."""
    monkeypatch.setattr("visionkit.providers.retry._FIRST_SECONDS", 0.01)
    with socket.socket() as listening, socket.socket() as one, socket.socket() as two:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for filler in (one, two):
            filler.settimeout(0)
            filler.connect_ex(listening.getsockname())
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        model = vk.load_model(f"{prefix}:m", api_key="sk-x", base_url=url, timeout_seconds=0.3, max_attempts=2)
        with pytest.raises(UnavailableError, match=r"the server cannot be reached \(it takes no.*\) \(2 attempts\)$"):
            ask(PIXELS, "What?", model=model)
        model.close()


@pytest.mark.parametrize("prefix", WIRES)
def test_a_redirect_is_not_followed(vendor, connect, prefix):
    vendor.fail(307, headers={"location": f"{vendor.url}/elsewhere"}, body={})
    with pytest.raises(RequestError, match="redirects to another address, which is not followed"):
        ask(PIXELS, "What?", model=connect(prefix))
    assert len(vendor.seen) == 1


def test_an_endless_reply_is_not_read_on(vendor, connect, monkeypatch):
    monkeypatch.setattr("visionkit.providers.hosted.MAX_ANSWER_BYTES", 1000)
    vendor.text = lambda seen: "x" * 2000
    with pytest.raises(AnswerError, match="the reply is longer than 1000 bytes"):
        ask(PIXELS, "What?", model=connect("openai"))


@pytest.mark.parametrize("prefix", WIRES)
def test_a_question_after_closing(vendor, connect, prefix):
    model = connect(prefix)
    model.close()
    with pytest.raises(UnavailableError, match=r"some-model: the model was closed; load it again$"):
        ask(PIXELS, "What?", model=model)
    assert vendor.seen == []


def test_closing_while_a_question_is_sent(vendor, connect, monkeypatch):
    """Between the look at whether it is closed and the sending."""
    model = connect("openai")
    exchange = model._exchange
    monkeypatch.setattr(model, "_exchange", lambda *given: (model.close(), exchange(*given))[1])
    with pytest.raises(UnavailableError, match=r"the model was closed; load it again"):
        ask(PIXELS, "What?", model=model)


def test_closing_ends_a_wait(vendor, connect):
    """From another thread, as a program that ends does it: the pause asked for is not sat out."""
    model = connect("openai")
    vendor.fail(429, times=2, headers={"retry-after": "59"}, body=said("wait"))
    raised, waiting = [], threading.Event()
    wait = model._stopped.wait
    model._stopped.wait = lambda seconds: waiting.set() or wait(seconds)

    def question():
        try:
            ask(PIXELS, "What?", model=model)
        except RateLimitError as err:
            raised.append(str(err))

    asking = threading.Thread(target=question)
    asking.start()
    assert waiting.wait(30)
    model.close()
    asking.join(30)
    assert not asking.is_alive()
    assert len(raised) == 1
    assert "1 attempt)" in raised[0]
    assert len(vendor.seen) == 1


def test_mistakes_of_ours_are_not_called_the_vendors(connect):
    """Only exceptions of the SDK and its transport are mapped."""

    class Odd:
        def __getattr__(self, name):
            raise TypeError("a mistake")

    model = connect("openai")
    whole, model._client = model._client, Odd()
    with pytest.raises(TypeError, match="a mistake"):
        model.describe([], "What?")
    model._client = whole


# --- keys and addresses ---


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("openai:m", "OPENAI_API_KEY"),
        ("openai-chat:m", "OPENAI_API_KEY"),
        ("anthropic:m", "ANTHROPIC_API_KEY"),
    ],
)
@pytest.mark.parametrize("given", [None, "", "  "])
def test_no_key(name, variable, given):
    with pytest.raises(
        AuthenticationError, match=f"{name} needs an API key: set the environment variable {variable}, or"
    ):
        vk.load_model(name, api_key=given)
    if given is None:
        with pytest.raises(AuthenticationError, match=variable):
            ask(PIXELS, "What?", model=name)


@pytest.mark.parametrize("given", ["sk-from-argument", SecretStr("sk-from-argument"), None])
@pytest.mark.parametrize("prefix", WIRES[::2])
def test_where_the_key_comes_from(vendor, connect, monkeypatch, prefix, given):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-environment")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-from-environment")
    ask(PIXELS, "What?", model=connect(prefix, api_key=given))
    expected = "sk-from-argument" if given else "sk-from-environment"
    assert vendor.seen[0].headers["authorization"] == f"Bearer {expected}"
    assert vendor.seen[0].headers.get("x-api-key", expected) == expected


@pytest.mark.parametrize("prefix", ["openai", "anthropic"])
def test_a_key_of_the_environment_that_was_put_right_is_used(vendor, monkeypatch, prefix):
    """By a name, so through the shared object; and it is the corrected key that errors hide."""
    variable = f"{prefix.upper()}_API_KEY"
    monkeypatch.setenv(f"{prefix.upper()}_BASE_URL", vendor.url)
    monkeypatch.setenv(variable, "sk-mistyped-0123456789")
    vendor.fail(401, body=said("no"))
    with pytest.raises(AuthenticationError):
        ask(PIXELS, "What?", model=f"{prefix}:cached")
    monkeypatch.setenv(variable, "sk-corrected-9876543210")
    assert ask(PIXELS, "What?", model=f"{prefix}:cached").text == "a cat"
    sent = [seen.headers.get("x-api-key") or seen.headers["authorization"][7:] for seen in vendor.seen]
    assert sent == ["sk-mistyped-0123456789", "sk-corrected-9876543210"]
    vendor.fail(400, body=said("your sk-corrected-9876543210"))
    with pytest.raises(RequestError, match=r": your \[key\]$"):
        ask(PIXELS, "What?", model=f"{prefix}:cached")
    monkeypatch.delenv(variable)
    with pytest.raises(AuthenticationError, match=f"set the environment variable {variable}"):
        ask(PIXELS, "What?", model=f"{prefix}:cached")
    vk.clear_models()


def test_a_server_on_this_machine_gets_no_key_of_a_vendor(vendor, connect, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-environment")
    ask(PIXELS, "What?", model=connect("openai-chat", api_key=None))
    ask(PIXELS, "What?", model=connect("openai-chat", api_key="given"))
    assert [seen.headers["authorization"] for seen in vendor.seen] == ["Bearer no-key-needed", "Bearer given"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://api.example.com/v1", "unencrypted; use https://"),
        ("http://10.0.0.7:8000/v1", "unencrypted; use https://"),
        ("http://localhost.example.com/v1", "unencrypted; use https://"),
        ("http://127.0.0.1.example.com", "unencrypted; use https://"),
        ("ftp://127.0.0.1", "must begin with https://"),
        ("api.example.com", "must begin with https://"),
        ("https://user:secret@api.example.com", "must hold no user, password or query"),
        ("https://api.example.com/v1?key=secret", "must hold no user, password or query"),
    ],
)
def test_addresses_that_would_show_the_key(url, why):
    for prefix in WIRES:
        with pytest.raises(InputError, match=f"{prefix}:m: base_url .*{why}") as caught:
            vk.load_model(f"{prefix}:m", base_url=url, api_key="sk-x")
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (5, "must be a string, not int"),
        ("http://[bad", "is no address"),
        (f"https://{'a' * 64}.example.com", "is no address"),
        ("https://a..b/v1", "is no address"),
        ("https://api.example.com:99999", "is no address"),
        ("https://api.example.com:x", "is no address"),
        ("https://exa mple.com", "is no address"),
        ("https://api.example.com/\n", "is no address"),
        ("https://\ud800.example.com", "is no address"),
        ("", "must begin with https://"),
    ],
)
@pytest.mark.parametrize("prefix", WIRES)
def test_addresses_that_are_none(prefix, url, why):
    with pytest.raises(InputError, match=f"{prefix}:m: base_url {why}"):
        vk.load_model(f"{prefix}:m", base_url=url, api_key="sk-x")


@pytest.mark.parametrize("prefix", WIRES)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("where", ["argument", "environment"])
def test_a_server_on_this_machine_is_reached_through_no_proxy(vendor, monkeypatch, prefix, variable, where):
    address = vendor.url + ("" if prefix == "anthropic" else "/v1")
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        proxy.settimeout(0)
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        if where == "environment":
            monkeypatch.setenv(f"{prefix.partition('-')[0].upper()}_BASE_URL", address)
        options = {"base_url": address} if where == "argument" else {}
        model = vk.load_model(f"{prefix}:m", api_key="sk-x", timeout_seconds=5, max_attempts=1, **options)
        assert ask(PIXELS, "What?", model=model).text == "a cat"
        model.close()
        with pytest.raises(BlockingIOError):  # nobody knocked
            proxy.accept()


def test_another_machine_is_reached_through_the_proxy_of_the_environment(monkeypatch):
    """The proof that the test above can fail."""
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        model = vk.load_model(
            "openai:m", api_key="sk-x", base_url="https://api.example.com", timeout_seconds=0.3, max_attempts=1
        )
        with pytest.raises(UnavailableError):
            ask(PIXELS, "What?", model=model)
        model.close()
        proxy.settimeout(0)
        proxy.accept()[0].close()


def test_an_address_from_the_environment_is_checked_too(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://api.example.com/v1")
    with pytest.raises(InputError, match="unencrypted"):
        vk.load_model("openai:m", api_key="sk-x")


@pytest.mark.parametrize(
    "url", ["https://api.example.com", "http://127.8.9.1", "http://[::1]:1/v1", "http://localhost:80"]
)
def test_addresses_that_are_fine(url):
    check_base_url(url, "m")
    assert is_loopback(url) == url.startswith("http://")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"timeout_seconds": 0}, "timeout_seconds=0 must be above 0"),
        ({"timeout_seconds": "5"}, "timeout_seconds='5' must be above 0"),
        ({"timeout_seconds": True}, "timeout_seconds=True must be above 0"),
        ({"timeout_seconds": float("inf")}, "timeout_seconds=inf must be above 0 and at most 86400"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds=nan must be above 0"),
        ({"max_attempts": True}, "max_attempts=True must be a whole number"),
        ({"box_convention": "pixels"}, "do not take the option 'box_convention'"),
        ({"max_attempts": 0}, "max_attempts=0 must be a whole number"),
        ({"concurrency": 1.5}, "concurrency=1.5 must be a whole number"),
        ({"colour": "red"}, "do not take the option 'colour'; they take: api_key, base_url, timeout_seconds"),
        ({"device": "cpu"}, "hosted and take neither device= nor speed="),
    ],
)
def test_options(options, text):
    with pytest.raises(InputError, match=text):
        vk.load_model("anthropic:m", api_key="sk-x", **options)
    with pytest.raises(InputError, match="do not take the option 'box_convention'"):
        vk.load_model("openai-chat:m", api_key="sk-x", box_convention="pixels")


@pytest.mark.parametrize("prefix", WIRES)
def test_missing_extra(prefix, monkeypatch):
    """Where the SDKs cannot be imported, the error has the line that installs them, by our own name."""
    monkeypatch.setitem(sys.modules, prefix.partition("-")[0], None)
    with pytest.raises(MissingExtraError, match=r"pip install 'visionkit-py\[hosted\]'"):
        vk.load_model(f"{prefix}:m", api_key="sk-x")


# --- pure parts ---


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after_seconds(headers) == seconds


def test_retry_after_as_a_date():
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    assert 500 < retry_after_seconds({"retry-after": date}) <= 600


def test_pauses_double_are_capped_and_leave_the_users_random_numbers_alone():
    random.seed(5)
    pauses = [pause_seconds(None, number) for number in range(1, 9)]
    state = random.getstate()
    random.seed(5)
    assert random.getstate() == state
    for pause, full in zip(pauses, [0.5, 1, 2, 4, 8, 8, 8, 8], strict=True):
        assert 0.75 * full <= pause <= full
    assert len(set(pauses)) == 8
    assert pause_seconds(60.0, 1) == 60.0
    assert pause_seconds(60.1, 1) is None


def test_the_loop_waits_as_told():
    fault = Fault(UnavailableError, "no", retry=True, retry_after_seconds=3.0)
    waits, outcomes = [], iter([fault, fault, "yes"])
    assert with_retries(lambda: next(outcomes), 5, lambda s: waits.append(s) or False) == ("yes", 3)
    assert waits == [3.0, 3.0]
    assert with_retries(lambda: fault, 5, lambda s: True) == (fault, 1)


def test_pieces_of_the_key_are_cut_out_of_a_text():
    key = SecretStr("sk-canary-3f9c7a51e8d24b06")
    text = f"bad key {key.get_secret_value()}, starts with sk-canary-3f, ends …e8d24b06; sk-cat is fine"
    assert clean(text, key) == "bad key [key], starts with [key], ends …[key]; sk-cat is fine"
    assert clean("a\x00b\x1b]0;c\u202ed\u2028e" + "f" * 400, key).startswith("a b ]0;c d e")
    assert len(clean("f" * 400, key)) == 300


def test_pickles_and_copies_hold_no_key(vendor, connect, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-environment")
    model = connect("openai", api_key=None, concurrency=7)
    data = pickle.dumps(model)
    assert b"sk-from" not in data
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-other-machine")
    again = pickle.loads(data)  # noqa: S301 - our own, from above
    assert (again.name, again.concurrency) == ("openai:some-model", 7)
    ask(PIXELS, "What?", model=again)
    assert vendor.seen[0].headers["authorization"] == "Bearer sk-of-the-other-machine"
    again.close()
    given = connect("openai")
    for act in (pickle.dumps, copy.deepcopy):
        with pytest.raises(
            InputError, match="a key is never written into a pickle: set the environment variable OPENAI_API_KEY"
        ):
            act(given)


def test_errors_survive_a_pickle():
    error = Fault(RateLimitError, "slow", "words", 429, "req", 2.5).error("openai:m", 3)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert isinstance(again, ProviderError)
    assert (str(again), again.status, again.request_id, again.retry_after_seconds) == (str(error), 429, "req", 2.5)
