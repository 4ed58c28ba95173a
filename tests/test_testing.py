"""The fakes that we ship do what the protocols say, and are good for tests of other people's code."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from pydantic import BaseModel

import visionkit as vk
from visionkit.errors import AnswerError, InputError
from visionkit.models.protocols import Classifier, Describer, ImageEmbedder, ImageGenerator
from visionkit.testing import FakeClassifier, FakeDescriber, FakeGenerator


class Scene(BaseModel):
    indoors: bool
    weather: Literal["sun", "rain"]


class Count(BaseModel):
    number: int


def test_they_satisfy_the_protocols():
    assert isinstance(FakeClassifier(["a"]), Classifier)
    assert isinstance(FakeClassifier(["a"]), ImageEmbedder)
    assert isinstance(FakeDescriber(), Describer)
    assert isinstance(FakeGenerator(), ImageGenerator)


def test_classifier(cat):
    answer = vk.classify(cat, model=FakeClassifier(["cat", "dog"], answer="dog"))
    assert answer.label == "dog"
    assert answer.score > 0.99
    assert vk.embed([cat, np.zeros((4, 4), np.uint8)], model=FakeClassifier(["a"])).vectors.shape == (2, 4)
    with pytest.raises(InputError, match="answer 'cow' is none of the labels"):
        FakeClassifier(["cat"], answer="cow")


def test_describer(cat):
    assert vk.ask(cat, "what?", model=FakeDescriber("a cat")).text == "a cat"
    assert vk.ask(cat, "what?", model=FakeDescriber(), schema=Scene).parsed == Scene(indoors=False, weather="sun")
    three = FakeDescriber(parsed=Count(number=3))
    assert vk.ask(cat, "how many?", model=three, schema=Count).parsed == Count(number=3)
    with pytest.raises(AnswerError, match="FakeDescriber cannot make a Count: give it one, parsed="):
        vk.ask(cat, "how many?", model=FakeDescriber(), schema=Count)
    chosen = vk.classify(cat, ["cat", "dog"], model=FakeDescriber())
    assert (chosen.label, chosen.score, chosen.score_kind) == ("cat", 1.0, "said")
    assert chosen.usage == {"input_tokens": 0, "output_tokens": 0}


def test_generator():
    pictures = vk.generate("a cat", model=FakeGenerator(), seed=3, n=2, size_wh=(16, 8))
    assert [picture.image.size for picture in pictures] == [(16, 8)] * 2
    assert [picture.recipe.seed for picture in pictures] == [3, 4]
    assert (
        np.asarray(pictures[1].image).tolist()
        == np.asarray(vk.generate("a cat", model=FakeGenerator(), seed=4, size_wh=(16, 8))[0].image).tolist()
    )
