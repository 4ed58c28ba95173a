"""What the verbs promise, over hosted models: one, several, lazily, at once, with bad ones among them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

import visionkit as vk
from visionkit.errors import AnswerError, CapabilityError, InputError, ModelError, SourceError, UnavailableError
from visionkit.models.protocols import Describer, Description
from visionkit.results import Answer, Classification
from visionkit.tasks.ask import ask
from visionkit.tasks.classify import classify


def pixels(width):
    return np.zeros((8, width, 3), np.uint8)


@pytest.fixture
def model(vendor, connect):
    """Says how wide the picture is that arrived, so that answers tell their pictures."""
    vendor.text = lambda seen: str(seen.image().width)
    return connect("openai-chat", concurrency=3)


def test_one_in_one_out(model):
    answer = ask(pixels(11), "How wide?", model=model)
    assert isinstance(answer, Answer)
    assert (answer.text, answer.source, answer.model) == ("11", "<array 8×11×3>", "openai-chat:some-model")
    assert isinstance(model, Describer)


@pytest.mark.parametrize("n", [0, 1, 2, 7])
@pytest.mark.parametrize("kind", [list, tuple])
def test_a_sequence_in_a_list_out_in_order(model, n, kind):
    answers = ask(kind(pixels(10 + i) for i in range(n)), "How wide?", model=model)
    assert isinstance(answers, list)
    assert [a.text for a in answers] == [str(10 + i) for i in range(n)]


def test_no_more_at_once_than_the_model_allows(vendor, model):
    vendor.barrier = threading.Barrier(3, timeout=10)  # breaks unless three are under way together
    answers = ask([pixels(10 + i) for i in range(6)], "How wide?", model=model)
    assert [a.text for a in answers] == ["10", "11", "12", "13", "14", "15"]
    assert vendor.most_at_once == 3


def test_an_iterator_is_read_lazily(vendor, model):
    read = []

    def sources():
        for i in range(20):
            read.append(i)
            yield pixels(10 + i)

    answers = ask(sources(), "How wide?", model=model)
    assert isinstance(answers, Iterator)
    assert read == []
    assert next(answers).text == "10"
    assert len(read) <= 3
    assert next(answers).text == "11"
    assert len(read) <= 4
    answers.close()
    assert len(vendor.seen) <= len(read) <= 4  # what had not begun was dropped


def test_arguments_are_checked_before_the_first_next(model):
    with pytest.raises(InputError, match="asks nothing"):
        ask(iter([pixels(10)]), " ", model=model)


def test_a_bad_file_among_good_ones(model, tmp_path):
    bad = tmp_path / "gone.jpg"
    sources = [pixels(10), pixels(11), bad, pixels(12)]
    answers = ask(sources, "How wide?", model=model, on_error="return")
    assert [a.text for a in (answers[0], answers[1], answers[3])] == ["10", "11", "12"]
    failure = answers[2]
    assert isinstance(failure, vk.Failure)
    assert (failure.index, failure.source, type(failure.error)) == (2, str(bad), SourceError)
    with pytest.raises(SourceError, match="no such file") as caught:
        ask(sources, "How wide?", model=model)
    assert [a.text for a in caught.value.results] == ["10", "11"]
    lazy = list(ask(iter(sources), "How wide?", model=model, on_error="return"))
    assert [type(a) for a in lazy] == [Answer, Answer, vk.Failure, Answer]


def test_a_failing_vendor_among_good_answers(vendor, model):
    vendor.fail(500, headers={"x-should-retry": "false"}, body={"error": {"message": "no"}})
    answers = ask([pixels(10)], "How wide?", model=model, on_error="return")
    assert isinstance(answers[0].error, UnavailableError)
    assert isinstance(ask(pixels(10), "How wide?", model=model, on_error="return"), Answer)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"prompt": "q\ud800"}, r"prompt 'q\\ud800' is no text: it has half of a surrogate pair"),
        ({"prompt": "q" * 999 + "\ud800"}, f"prompt '{'q' * 80}…' is no text"),
        ({"system": 5}, "system must be a string, not <int>"),
        ({"system": "\udfff"}, r"system '\\udfff' is no text"),
        ({"max_tokens": True}, "max_tokens=True must be a whole number of at least 1"),
        ({"max_tokens": 2.0}, "max_tokens=2.0 must be a whole number of at least 1"),
        ({"max_tokens": "9"}, "max_tokens='9' must be a whole number of at least 1"),
    ],
)
def test_words_and_numbers_that_are_none(vendor, model, arguments, text):
    with pytest.raises(InputError, match=text):
        ask(iter([pixels(10)]), **{"prompt": "What?", "model": model, **arguments})
    assert vendor.seen == []


def test_a_label_that_is_no_text(vendor, model):
    with pytest.raises(InputError, match=r"label 'dog\\ud800' is no text"):
        classify(pixels(10), ["cat", "dog\ud800"], model=model)
    assert vendor.seen == []


class Anything(BaseModel):
    name: str
    more: Any


def test_a_schema_that_a_vendor_cannot_say(vendor, connect):
    with pytest.raises(
        InputError, match="anthropic:some-model does not take the schema Anything: ValueError: .*; give"
    ):
        ask(pixels(10), "What?", model=connect("anthropic"), schema=Anything)
    (failure,) = ask([pixels(10)], "What?", model=connect("anthropic"), schema=Anything, on_error="return")
    assert isinstance(failure.error, InputError)
    assert vendor.seen == []


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (Description(None, None, "stop", refused=False, usage={}), "text: Input should be a valid string"),
        (Description("a", None, "stop", refused=False, usage={"input_tokens": 1.5}), r"usage\.input_tokens: Input"),
        ("a cat", "'str' object has no attribute 'text'"),
    ],
)
def test_what_a_third_partys_describer_says_wrongly(said, text):
    class Careless:
        name, box_convention, concurrency = "their:model", "pixels", 1

        def describe(self, pictures, prompt, *, system=None, schema=None, max_tokens=None):
            return said

    (failure,) = ask([pixels(10)], "What?", model=Careless(), on_error="return")
    with pytest.raises(ModelError, match=rf"^their:model: its answer cannot be used: {text}.*; this is the model's"):
        raise failure.error


@pytest.mark.parametrize("prompt", ["", "  \n", None, 7])
def test_an_empty_prompt(vendor, model, prompt):
    with pytest.raises(InputError, match=r"asks nothing; give a question as a string"):
        ask(pixels(10), prompt, model=model)
    assert vendor.seen == []


class Odd(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    thing: SimpleNamespace


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "object"}, "must be a class that inherits from pydantic.BaseModel"),
        (int, "must be a class that inherits from pydantic.BaseModel"),
        (Odd, "schema Odd cannot be written as JSON schema"),
    ],
)
def test_a_schema_that_is_none(model, schema, text):
    with pytest.raises(InputError, match=text):
        ask([], "What?", model=model, schema=schema)


def test_models_that_are_none(model):
    with pytest.raises(InputError, match="ask has no default model, since hosted models cost money: give model="):
        ask(pixels(10), "What?")
    with pytest.raises(CapabilityError, match="mine cannot answer questions"):
        ask(pixels(10), "What?", model=SimpleNamespace(name="mine"))
    with pytest.raises(CapabilityError, match="cannot ask"):
        ask(pixels(10), "What?", model="visionkit:efficientnet_lite0")
    with pytest.raises(InputError, match="max_tokens=0 must be"):
        ask(pixels(10), "What?", model=model, max_tokens=0)


def test_answers_are_frozen_values_with_a_short_repr():
    class Cat(BaseModel):
        asleep: bool

    common: dict[str, Any] = {"usage": {"input_tokens": 3}, "model": "m", "source": "a.jpg"}
    answer = Answer(text="x" * 1000, finish_reason="length", **common)
    assert repr(answer) == f"Answer(a.jpg: '{'x' * 99}…; length; m)"
    parsed = Answer(text='{"asleep": true}', parsed=Cat(asleep=True), finish_reason="stop", **common)
    assert repr(parsed) == "Answer(a.jpg: Cat(asleep=True); m)"
    again = Answer.model_validate_json(parsed.model_dump_json())
    assert again.parsed == {"asleep": True}
    assert again == Answer(text=parsed.text, parsed={"asleep": True}, finish_reason="stop", **common)
    with pytest.raises(ValidationError, match="frozen"):
        answer.text = "other"


# --- classify by asking ---


@pytest.mark.parametrize("prefix", ["openai", "openai-chat", "anthropic"])
def test_classify_asks_for_one_of_the_labels(vendor, connect, prefix):
    vendor.text = lambda seen: '{"label": "dog"}'
    result = classify(pixels(10), ["cat", "dog", "no animal"], model=connect(prefix))
    assert isinstance(result, Classification)
    assert result.label == "dog"
    assert list(result.scores.items()) == [("dog", 1.0), ("cat", 0.0), ("no animal", 0.0)]
    assert result.score_kind == "said"
    (seen,) = vendor.seen
    wire = repr(seen.body)
    assert "['cat', 'dog', 'no animal']" in wire  # the schema's enumeration
    turn = (seen.body.get("input") or seen.body["messages"])[-1]
    assert turn["role"] == "user"
    assert turn["content"][-1]["text"].endswith('["cat", "dog", "no animal"]')


@pytest.mark.parametrize("text", ['{"label": "lion"}', '{"label": "Cat"}', "cat", '{"label": "cat", "label2": "dog"}'])
def test_a_label_that_was_not_asked_for(vendor, connect, text):
    vendor.text = lambda seen: text
    with pytest.raises(AnswerError, match="openai:some-model: the answer does not fit Choice"):
        classify(pixels(10), ["cat", "dog"], model=connect("openai"))


def test_a_third_partys_describer_is_held_to_the_labels_too():
    class Careless:
        name, box_convention, concurrency = "their:model", "pixels", 1

        def describe(self, pictures, prompt, *, system=None, schema=None, max_tokens=None):
            return Description("lion", SimpleNamespace(label="lion"), "stop", refused=False, usage={})

    with pytest.raises(AnswerError, match="their:model named 'lion', which is none of the 2 labels"):
        classify(pixels(10), ["cat", "dog"], model=Careless())


def test_classify_needs_labels_and_names_one(model):
    with pytest.raises(InputError, match="has no classes of its own: give labels"):
        classify(pixels(10), model=model)
    with pytest.raises(InputError, match="multi_label=True does not go with"):
        classify(pixels(10), ["a", "b"], model=model, multi_label=True)


def test_one_label_is_a_choice_too(vendor, connect):
    vendor.text = lambda seen: '{"label": "cat"}'
    assert classify(pixels(10), ["cat"], model=connect("openai")).label == "cat"


# --- imports ---


def test_asking_imports_no_torch(vendor):
    """A whole call, in a process of its own."""
    code = f"""
import sys
import numpy as np
import visionkit as vk
from visionkit.tasks.ask import ask
assert not {{"openai", "anthropic", "torch"}} & set(sys.modules), "importing the verb imports a vendor or torch"
for prefix, url in (("openai", "{vendor.url}/v1"), ("anthropic", "{vendor.url}")):
    model = vk.load_model(f"{{prefix}}:m", api_key="x", base_url=url)
    print(ask(np.zeros((4, 4, 3), np.uint8), "What?", model=model).text)
    model.close()
heavy = {{"torch", "torchvision", "sklearn", "matplotlib", "transformers"}} & set(sys.modules)
assert not heavy, heavy
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    assert out.stdout.split("\n")[:2] == ["a cat", "a cat"]
