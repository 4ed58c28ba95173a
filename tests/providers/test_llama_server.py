"""End to end against the real llama.cpp server: its model is random, its decoding and its grammar are not."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel

import visionkit as vk
from visionkit.errors import AnswerError, RequestError
from visionkit.results import Answer, Classification
from visionkit.tasks.ask import ask
from visionkit.tasks.classify import classify

CAT = Path(__file__).parents[2] / "examples" / "images" / "cat.jpg"


class Light(enum.Enum):
    DAY = "day"
    NIGHT = "night"


class Scene(BaseModel):
    """Booleans and enumerations only: random weights never end an integer or a string."""

    animal: bool
    people: bool
    light: Light
    kind: Literal["photo", "drawing", "painting"]


@pytest.fixture
def chat(llama):
    model = vk.load_model("openai-chat:tiny", base_url=f"{llama}/v1")
    yield model
    model.close()


@pytest.fixture
def messages(llama):
    model = vk.load_model("anthropic:tiny", base_url=llama, api_key="any")
    yield model
    model.close()


def test_chat_answers_in_words(chat):
    answer = ask(CAT, "What is this?", model=chat, max_tokens=12)
    assert isinstance(answer, Answer)
    assert answer.text
    assert answer.finish_reason in ("length", "stop")
    assert answer.usage["output_tokens"] <= 12
    assert (answer.model, answer.source, answer.cost, answer.parsed) == ("openai-chat:tiny", str(CAT), None, None)


def test_the_picture_arrives_as_tokens(chat):
    """llama.cpp counts the tokens of the picture: 16 patches of the tiny eye on top of the words'."""
    with_picture = ask(CAT, "What?", model=chat, max_tokens=2).usage["input_tokens"]
    two = chat.describe([vk.load_image(CAT)] * 2, "What?", max_tokens=2).usage["input_tokens"]
    words = chat.describe([], "What?", max_tokens=2).usage["input_tokens"]
    assert two - with_picture >= 16
    assert with_picture - words >= 16


def test_anthropic_answers_in_words(messages):
    answer = ask([CAT, CAT], "What is this?", model=messages, max_tokens=8, system="Be brief.")
    assert [a.model for a in answer] == ["anthropic:tiny"] * 2
    assert all(a.text and a.usage["output_tokens"] <= 8 for a in answer)
    assert answer[0].finish_reason in ("length", "stop")


def test_a_schema_comes_back_as_its_object(chat):
    answer = ask(CAT, "Describe it.", model=chat, schema=Scene)
    assert isinstance(answer.parsed, Scene)
    assert isinstance(answer.parsed.light, Light)
    assert Scene.model_validate_json(answer.text) == answer.parsed
    again = Answer.model_validate_json(answer.model_dump_json())
    assert Scene.model_validate(again.parsed) == answer.parsed


def test_a_schema_that_the_server_ignores_is_an_answer_error(messages):
    with pytest.raises(
        AnswerError,
        match=r"^anthropic:tiny: the answer (for Scene was cut off; a larger|does not fit Scene, ).*; it said: ",
    ):
        ask(CAT, "Describe it.", model=messages, schema=Scene, max_tokens=8)


def test_classify_among_labels(chat):
    labels = ["cat", "a dog", "naïve ‘café’", 'quoted "one"']
    result, again = classify([CAT, CAT], labels, model=chat)
    assert isinstance(result, Classification)
    assert set(result.scores) == set(labels)
    assert sorted(result.scores.values()) == [0.0, 0.0, 0.0, 1.0]
    assert result.scores[result.label] == result.score == 1.0
    assert (result.score_kind, result.model, result.source) == ("said", "openai-chat:tiny", str(CAT))
    assert isinstance(again, Classification)


def test_the_server_refuses_a_request(chat):
    with pytest.raises(
        RequestError, match=r"openai-chat:tiny: the server refuses the request \(status 400, 1 attempt\): "
    ) as e:
        ask(CAT, "word " * 5000, model=chat)  # longer than the context of 2,048
    assert e.value.status == 400
