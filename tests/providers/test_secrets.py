"""The key and the pictures stay out of logs, errors, reprs, pickles and tracebacks: a canary is looked for in all."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import traceback

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

import visionkit as vk
from visionkit.errors import AnswerError, AuthenticationError, ProviderError
from visionkit.tasks.ask import ask
from visionkit.tasks.classify import classify

WIRES = ["openai", "openai-chat", "anthropic"]
PIXELS = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)


class Yes(BaseModel):
    yes: bool


@pytest.fixture
def canary(connect):
    """The key that `connect` gives, without its name in the test's own frame."""
    return connect("openai")._key


def break_it(vendor, how, key):
    """Makes the server fail, repeating the key in every place it can."""
    echo = {"error": {"type": "e", "message": f"bad key {key}, which starts with {key[:12]}", "code": "c"}}
    headers = {"retry-after": "0"}  # a key in a header of the reply would be logged by the transport: not ours to cut
    if how.isdigit():
        vendor.fail(int(how), times=9, headers=headers, body=echo)
    elif how in ("cut", "hang", "drip"):
        vendor.fail(200, headers=headers, body=echo, how=how)
    elif how == "redirect":
        vendor.fail(307, headers={**headers, "location": f"{vendor.url}/elsewhere"}, body=echo)
    elif how == "no reply":
        vendor.fail(200, body=echo)
    else:
        vendor.text = lambda seen: f"not JSON, and {key}"


def chain(error):
    """The error, and whatever it drags along."""
    found, todo = [], [error]
    while todo:
        err = todo.pop()
        if err is not None and err not in found:
            found.append(err)
            todo += [err.__cause__, err.__context__]
    return found


@pytest.mark.parametrize("prefix", WIRES)
@pytest.mark.parametrize(
    "how", ["400", "401", "429", "500", "cut", "hang", "drip", "redirect", "no reply", "no schema"]
)
def test_a_failure_shows_no_key(vendor, connect, canary, caplog, prefix, how):  # noqa: PLR0917
    caplog.set_level(logging.DEBUG)
    model = connect(prefix, max_attempts=2 if how.isdigit() else 1, timeout_seconds=0.4)
    break_it(vendor, how, canary.get_secret_value())
    with pytest.raises(ProviderError) as caught:
        ask(PIXELS, "What?", model=model, schema=Yes)
    error = caught.value
    assert chain(error) == [error]  # nothing of the SDK's, which holds the request
    places = {
        "message": str(error),
        "repr": repr(error),
        "attributes": repr(vars(error)),
        "pickle": pickle.dumps(error).decode("latin-1"),
        "model": repr(model) + str(model) + repr(vars(model)),
        "connection": repr(model._connection) + model._connection.__class__.__name__,
        "traceback": "".join(
            traceback.TracebackException(type(error), error, error.__traceback__.tb_next, capture_locals=True).format()
        ),
        "log": "".join(r.getMessage() + repr(r.args) + (r.exc_text or "") for r in caplog.records) + caplog.text,
    }
    assert len(caplog.records) > 3  # the SDK did log
    leaks = pieces(canary.get_secret_value())
    for place, text in places.items():
        assert not [piece for piece in leaks if piece in text], place


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    yes: bool


@pytest.mark.parametrize("prefix", WIRES)
def test_a_name_that_the_server_chose_shows_no_key(vendor, connect, canary, prefix):
    """A field too many is named in the error: the server may call it what it likes."""
    key = canary.get_secret_value()
    vendor.text = lambda seen: json.dumps({"yes": True, f"{key}\x1b[31m\n\u202e{'x' * 999}": 1})
    with pytest.raises(AnswerError, match="does not fit Closed, ") as caught:
        ask(PIXELS, "What?", model=connect(prefix), schema=Closed)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 800
    assert not [piece for piece in pieces(key) if piece in message]


@pytest.mark.parametrize(
    ("prefix", "given"),
    [
        *((prefix, given) for prefix in WIRES for given in ("as it is", "secret")),
        ("openai", "environment"),
        ("anthropic", "environment"),
    ],
)
def test_a_key_read_from_a_file_has_lost_its_newline(vendor, connect, caplog, monkeypatch, prefix, given):  # noqa: PLR0917
    caplog.set_level(logging.DEBUG)
    key = " sk-from-a-file-0123456789\r\n"
    monkeypatch.setenv(f"{prefix.partition('-')[0].upper()}_API_KEY", key)
    api_key = {"as it is": key, "secret": SecretStr(key), "environment": None}[given]
    ask(PIXELS, "What?", model=connect(prefix, api_key=api_key))
    headers = vendor.seen[0].headers
    assert (headers.get("x-api-key") or headers["authorization"][7:]) == "sk-from-a-file-0123456789"
    assert "sk-from" not in caplog.text


@pytest.mark.parametrize("prefix", WIRES)
@pytest.mark.parametrize("odd", ["\n", "\x00", "\x1b", "\x7f", "é", "€", "\u200b", "\ud800"])
def test_what_is_no_key_is_refused_without_being_quoted(caplog, monkeypatch, prefix, odd):
    caplog.set_level(logging.DEBUG)
    variable = f"{prefix.partition('-')[0].upper()}_API_KEY"
    places = [({"api_key": f"sk-canary-0123{odd}456789"}, "api_key=")]
    if odd not in ("\x00", "\ud800"):  # which no environment can hold
        monkeypatch.setenv(variable, f"sk-canary-0123{odd}456789")
        places.append(({}, variable))
    for options, where in places:
        with pytest.raises(AuthenticationError, match=f"{prefix}:m: {where} holds no API key") as caught:
            vk.load_model(f"{prefix}:m", **options)
        error = caught.value
        assert chain(error) == [error]
        frames = traceback.TracebackException(type(error), error, error.__traceback__.tb_next, capture_locals=True)
        shown = str(error) + "".join(frames.format()) + caplog.text
        assert "0123" not in shown
        assert "456789" not in shown


@pytest.mark.parametrize("given", [5, b"sk-canary", SecretStr(5), ["sk-canary"]])
def test_a_key_of_the_wrong_type(given):
    for prefix in WIRES:
        with pytest.raises(AuthenticationError, match=f"{prefix}:m: api_key= must be a string, not ") as caught:
            vk.load_model(f"{prefix}:m", api_key=given)
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize("prefix", WIRES)
def test_pictures_and_keys_stay_out_of_the_logs(vendor, connect, canary, caplog, prefix):
    caplog.set_level(logging.DEBUG)
    vendor.text = lambda seen: '{"label": "cat"}'
    model = connect(prefix)
    classify([PIXELS, PIXELS], ["cat", "dog"], model=model)
    (data,) = vendor.seen[0].pictures()
    sent = base64.b64encode(data).decode()
    assert len(caplog.records) > 3
    for record in caplog.records:
        text = record.getMessage() + repr(record.args)
        assert sent[100:140] not in text
        assert not [piece for piece in pieces(canary.get_secret_value()) if piece in text]


def test_other_users_of_the_sdk_keep_their_logs(vendor, connect, caplog):
    """Our filter cuts the bodies of our own calls alone."""
    import anthropic

    caplog.set_level(logging.DEBUG)
    connect("anthropic")
    own = anthropic.Anthropic(api_key="x", base_url=vendor.url, max_retries=0)
    own.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": "their own words"}])
    own.close()
    assert "their own words" in caplog.text


def test_what_is_called_changes_no_logging(vendor, connect):
    before = snapshot()
    ask(PIXELS, "What?", model=connect("anthropic"))
    connect("anthropic")
    connect("openai")
    after = snapshot()
    changed = {name for name in after if name in before and after[name] != before[name]}
    assert changed <= {"anthropic._base_client", "openai._base_client"}
    assert all(handlers == before.get(name, (0, [], 0))[1] for name, (_, handlers, _) in after.items())
    (ours,) = [
        f
        for f in logging.getLogger("anthropic._base_client").filters
        if getattr(f, "__module__", "").startswith("visionkit")
    ]
    assert callable(ours)


def snapshot():
    loggers = {n: o for n, o in logging.root.manager.loggerDict.items() if isinstance(o, logging.Logger)}
    return {n: (o.level, list(o.handlers), len(o.filters)) for n, o in {**loggers, "": logging.root}.items()}


def pieces(key):
    return [key[i : i + 8] for i in range(len(key) - 7)]
