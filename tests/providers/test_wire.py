"""What is sent, in each vendor's language, and what is made of the replies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Literal

import anthropic.types
import numpy as np
import openai
import openai.types.chat.completion_create_params
import openai.types.responses.response_create_params
import pytest
from PIL import Image
from pydantic import BaseModel, Field, TypeAdapter

import visionkit as vk
from visionkit.errors import AnswerError, RateLimitError, RequestError, UnavailableError
from visionkit.providers.limits import ANTHROPIC, LOCAL, OPENAI, upload_rules
from visionkit.tasks.ask import ask

WIRES = ["openai", "openai-chat", "anthropic"]
PARAMS = {
    "openai": openai.types.responses.response_create_params.ResponseCreateParamsNonStreaming,
    "openai-chat": openai.types.chat.completion_create_params.CompletionCreateParamsNonStreaming,
    "anthropic": anthropic.types.message_create_params.MessageCreateParamsNonStreaming,
}
PATHS = {"openai": "/v1/responses", "openai-chat": "/v1/chat/completions", "anthropic": "/v1/messages"}


class Cat(BaseModel):
    breed: Literal["tabby", "siamese"]
    whiskers: int = Field(ge=0, le=100)
    asleep: bool = False


CAT_JSON = '{"breed": "tabby", "whiskers": 24, "asleep": true}'


def plain(value):
    """A validated value as plain containers: pydantic checks an `Iterable` only while it is read."""
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(v) for v in value]
    return value


@pytest.mark.parametrize("prefix", WIRES)
@pytest.mark.parametrize("schema", [None, Cat])
def test_requests_are_of_the_sdks_own_types(vendor, connect, prefix, schema):
    vendor.text = lambda seen: CAT_JSON
    answer = ask(picture(), "What?", model=connect(prefix), schema=schema, system="Be brief.", max_tokens=99)
    (seen,) = vendor.seen
    assert seen.path == PATHS[prefix]
    # Whatever is not of the type is dropped in validation, so equality says that nothing else was sent.
    assert plain(TypeAdapter(PARAMS[prefix]).validate_python(seen.body)) == seen.body
    assert answer.parsed == (Cat(breed="tabby", whiskers=24, asleep=True) if schema else None)
    assert answer.text == CAT_JSON
    assert (answer.finish_reason, answer.refused) == ("stop", False)


@pytest.mark.parametrize("prefix", WIRES)
def test_words_and_settings_are_where_they_belong(vendor, connect, prefix):
    ask(picture(), "What?", model=connect(prefix), system="Be brief.", max_tokens=99)
    ask(picture(), "What?", model=connect(prefix))
    full, bare = (seen.body for seen in vendor.seen)
    turn = (full.get("input") or full["messages"])[-1]
    assert turn["role"] == "user"
    assert [part["type"] for part in turn["content"]] in (
        ["input_image", "input_text"],
        ["image_url", "text"],
        ["image", "text"],
    )
    assert turn["content"][-1]["text"] == "What?"
    assert full["model"] == "some-model"
    limit, system = {
        "openai": ("max_output_tokens", full.get("instructions")),
        "openai-chat": ("max_tokens", full.get("messages", [{}])[0].get("content")),
        "anthropic": ("max_tokens", full.get("system")),
    }[prefix]
    assert (full[limit], system) == (99, "Be brief.")
    assert bare.get(limit) == (4096 if prefix == "anthropic" else None)
    if prefix == "openai":
        assert full["store"] is False


def test_schemas_are_the_sdks_own(vendor, connect):
    """The schema on the wire is what each SDK's `parse` would send, so that nothing of it is ours to keep up."""
    vendor.text = lambda seen: CAT_JSON
    for prefix in WIRES:
        ask(picture(), "What?", model=connect(prefix), schema=Cat)
    ours = [seen.body for seen in vendor.seen]
    vendor.seen.clear()
    sdk = openai.OpenAI(api_key="x", base_url=f"{vendor.url}/v1")
    sdk.responses.parse(model="m", input="q", text_format=Cat)
    sdk.chat.completions.parse(model="m", messages=[{"role": "user", "content": "q"}], response_format=Cat)
    other = anthropic.Anthropic(api_key="x", base_url=vendor.url)
    other.messages.parse(model="m", max_tokens=9, messages=[{"role": "user", "content": "q"}], output_format=Cat)
    sdk.close()
    other.close()
    theirs = [seen.body for seen in vendor.seen]
    assert ours[0]["text"]["format"] == theirs[0]["text"]["format"] | {"name": "answer"}
    form = theirs[1]["response_format"]
    form["json_schema"]["name"] = "answer"
    assert ours[1]["response_format"] == form
    assert ours[2]["output_config"] == theirs[2]["output_config"]


@pytest.mark.parametrize(
    ("prefix", "usage"),
    [
        (
            "openai",
            {
                "input_tokens": 100,
                "output_tokens": 7,
                "cached_tokens": 40,
                "cache_write_tokens": 0,
                "reasoning_tokens": 3,
            },
        ),
        ("openai-chat", {"input_tokens": 100, "output_tokens": 7, "cached_tokens": 40, "image_tokens": 85}),
        ("anthropic", {"input_tokens": 100, "output_tokens": 7, "cached_tokens": 40}),  # 60 + 40
    ],
)
def test_usage_means_the_same_everywhere(connect, prefix, usage):
    answer = ask(picture(), "What?", model=connect(prefix))
    assert answer.usage == usage
    assert answer.cost is None


@pytest.mark.parametrize("prefix", WIRES)
def test_a_photo_on_its_side_arrives_upright_and_bare(vendor, connect, tmp_path, prefix):
    """EXIF orientation 6: stored turned to the left, to be shown turned to the right."""
    upright = Image.new("RGB", (40, 64), "red")
    upright.paste("blue", (0, 32, 40, 64))
    upright.paste("lime", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera with a name"
    path = tmp_path / "sideways.jpg"
    upright.transpose(Image.Transpose.ROTATE_90).save(path, quality=95, subsampling=0, exif=exif)
    ask(path, "What?", model=connect(prefix))
    (data,) = vendor.seen[0].pictures()
    arrived = Image.open(BytesIO(data))
    assert (arrived.format, arrived.mode, arrived.size) == ("JPEG", "RGB", (40, 64))
    # 8: the error of two JPEG codings away from edges; a picture turned wrongly differs by 255
    difference = np.abs(np.asarray(arrived, int) - np.asarray(upright, int))
    assert difference[2:14, 2:14].max() <= 8
    assert difference[36:62, 2:38].max() <= 8
    assert difference[18:30, 2:38].max() <= 8
    assert not arrived.getexif()
    assert b"Exif" not in data
    assert b"camera" not in data


@pytest.mark.parametrize(
    ("prefix", "size_wh", "sent_wh"),
    [
        ("openai", (300, 200), (300, 200)),
        ("openai", (4096, 1024), (2048, 512)),
        ("openai", (3000, 3000), (1600, 1600)),  # 50 × 50 patches of 32
        ("openai-chat", (3000, 3000), (2048, 2048)),
        ("anthropic", (1000, 800), (1000, 800)),
        ("anthropic", (3000, 200), (1568, 105)),
        ("anthropic", (2000, 2000), (1092, 1092)),  # 39 × 39 patches of 28: the vendor's own example
    ],
)
def test_pictures_are_shrunk_to_what_the_vendor_sees(vendor, connect, prefix, size_wh, sent_wh):
    said = connect(prefix).describe([Image.new("RGB", size_wh), Image.new("RGB", (8, 8))], "What?")
    large, small = said.fits
    assert vendor.seen[0].image().size == sent_wh
    assert (large.image_wh, large.input_wh) == (size_wh, sent_wh)
    assert (small.image_wh, small.input_wh) == ((8, 8), (8, 8))


@pytest.mark.parametrize("limits", [OPENAI, ANTHROPIC, LOCAL])
@pytest.mark.parametrize("size_wh", [(1, 1), (1, 9000), (777, 4321), (5000, 4999)])
def test_no_picture_has_more_patches_than_the_vendor_takes(limits, size_wh):
    side = upload_rules(limits, size_wh).max_side
    assert 1 <= side <= limits.max_side
    width, height = (max(1, round(n * min(1, side / max(size_wh)))) for n in size_wh)
    if limits.patch:
        assert -(-width // limits.patch) * -(-height // limits.patch) <= limits.max_patches


CUT = {
    "openai": {"incomplete": "max_output_tokens"},
    "openai-chat": {"finish_reason": "length"},
    "anthropic": {"stop_reason": "max_tokens"},
}
REFUSED = {
    "openai": {"refusal": "I cannot help with that."},
    "openai-chat": {"refusal": "I cannot help with that."},
    "anthropic": {"stop_reason": "refusal"},
}
FILTERED = {"openai": {"incomplete": "content_filter"}, "openai-chat": {"finish_reason": "content_filter"}}


@pytest.mark.parametrize("prefix", WIRES)
def test_an_answer_cut_off(vendor, connect, prefix):
    vendor.finish, vendor.text = CUT[prefix], lambda seen: '{"breed": "tab'
    model = connect(prefix)
    assert ask(picture(), "What?", model=model).finish_reason == "length"
    with pytest.raises(
        AnswerError, match=rf'{prefix}:some-model: the answer for Cat was cut off; .* said: {{"breed": "tab'
    ):
        ask(picture(), "What?", model=model, schema=Cat)


@pytest.mark.parametrize(("prefix", "finish"), [*REFUSED.items(), *FILTERED.items()])
def test_an_answer_refused(vendor, connect, prefix, finish):
    vendor.finish, vendor.text = finish, lambda seen: "I cannot help with that."
    model = connect(prefix)
    answer = ask(picture(), "What?", model=model)
    assert (answer.refused, answer.finish_reason, answer.text) == (True, "refused", "I cannot help with that.")
    with pytest.raises(AnswerError, match="the model declined to answer; it said: I cannot help"):
        ask(picture(), "What?", model=model, schema=Cat)


@pytest.mark.parametrize("prefix", WIRES)
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a tabby", "the whole: Invalid JSON"),
        ('{"breed": "tabby", "whiskers": 101}', "whiskers: Input should be less than or equal to 100"),
        ('{"breed": "lion", "whiskers": 1}', "breed: Input should be 'tabby' or 'siamese'"),
        ("", "the whole: Invalid JSON"),
        ('{"breed":"\x1b[31m' + "x" * 5000 + '"}', "Cat"),
    ],
)
def test_an_answer_that_does_not_fit(vendor, connect, prefix, text, why):
    vendor.text = lambda seen: text
    with pytest.raises(AnswerError) as caught:
        ask(picture(), "What?", model=connect(prefix), schema=Cat)
    message = str(caught.value)
    assert f"{prefix}:some-model: the answer does not fit Cat, " in message
    assert why in message
    assert message.isprintable()
    assert len(message.partition("it said: ")[2]) <= 300
    assert caught.value.__context__ is None
    assert len(vendor.seen) == 1  # asking again is the caller's choice: it costs


@pytest.mark.parametrize("prefix", WIRES)
@pytest.mark.parametrize("body", [b"<html>no</html>", b"{}", b"", b'{"choices": []}', b"\xff\xfe", b"[1]"])
def test_a_reply_that_is_none(vendor, connect, prefix, body):
    vendor.fail(200, body=body)
    with pytest.raises(AnswerError, match=f"{prefix}:some-model: the reply is none"):
        ask(picture(), "What?", model=connect(prefix))


@pytest.mark.parametrize(
    ("code", "kind"),
    [("server_error", UnavailableError), ("rate_limit_exceeded", RateLimitError), ("invalid_prompt", RequestError)],
)
def test_a_response_that_failed(vendor, connect, code, kind):
    vendor.finish = {"error": {"code": code, "message": "so\nit\tis"}}
    with pytest.raises(kind, match=r"openai:some-model: the server failed at the answer \(1 attempt\): so it is$"):
        ask(picture(), "What?", model=connect("openai"))


def test_commentary_is_no_answer(vendor, connect):
    """Newer models talk while they work; only what they say last is the answer."""

    def said(text, phase):
        content = [{"type": "output_text", "text": text}]
        return {"type": "message", "role": "assistant", "phase": phase, "content": content}

    body = {
        "object": "response",
        "status": "completed",
        "output": [said("Looking…", "commentary"), said(CAT_JSON, "final_answer")],
    }
    vendor.fail(200, body=body)
    answer = ask(picture(), "What?", model=connect("openai"), schema=Cat)
    assert answer.text == CAT_JSON
    assert answer.usage == {}


def picture():
    return vk.load_image(np.zeros((6, 10, 3), np.uint8))
