"""One contract for every verb over every kind: one in, one out; many in, many out; lazy; failures in their place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import visionkit as vk
from support.kinds import KINDS
from visionkit.results import Answer, Classification, Detections, Embeddings, GeneratedImages, Heatmap

OVER_IMAGES = {"classify": Classification, "embed": Embeddings, "detect": Detections, "ask": Answer, "similarity": None}
OVER_IMAGES |= {"explain": Heatmap}
OVER_TEXTS = {"generate": GeneratedImages, "embed_texts": Embeddings}
BATCHED = {"classify", "embed", "detect", "similarity", "embed_texts", "explain"}
JOINED = {"embed", "embed_texts", "similarity"}
"""Verbs that give one result with a row for each input of a sequence."""

ROWS = [(kind, verb) for kind in KINDS for verb in kind.verbs if verb != "fine_tune"]
IMAGE_ROWS = [(kind, verb) for kind, verb in ROWS if verb in OVER_IMAGES]
TEXT_ROWS = [(kind, verb) for kind, verb in ROWS if verb in OVER_TEXTS]


@dataclass
class Case:
    """A verb over a model, with three good inputs and a bad one."""

    verb: str
    model: Any
    options: dict[str, Any]
    good: list[Any]
    bad: Any
    steady: bool = True

    def __call__(self, inputs, **more):
        return getattr(vk, self.verb)(inputs, model=self.model, **self.options, **more)

    @property
    def small_batches(self):
        """The argument that makes a local model answer one by one."""
        hosted = hasattr(self.model, "describe")
        return {"batch_size": 1} if self.verb in BATCHED and not hosted else {}

    def units(self, result):
        """A result over a sequence as a list of one value for each input."""
        if self.verb == "similarity":
            return list(result)
        if self.verb in JOINED:
            return list(result.vectors)
        return list(result)

    def unit(self, result):
        """A result over one input as such a value."""
        if self.verb == "similarity":
            return np.asarray(result).reshape(-1)
        return result.vectors[0] if self.verb in JOINED else result

    def same(self, one, other):
        """Whether two values are the same answer; to 1e-4, since batches of other sizes round otherwise."""
        if self.verb in JOINED or self.verb == "explain":
            one, other = (getattr(value, "heat", value) for value in (one, other))
            return np.allclose(one, other, atol=1e-4)
        if self.verb == "classify" and not self.steady:  # random weights say something else each time
            return set(one.scores) == set(other.scores) == set(self.options["labels"])
        if self.verb == "classify":
            return one.label == other.label and all(abs(one.scores[k] - other.scores[k]) < 1e-4 for k in one.scores)
        if self.verb == "detect":
            return (
                len(one) == len(other) > 0
                and np.allclose(one.scores, other.scores, atol=1e-4)
                and np.allclose(np.sort(one.boxes_xyxy, 0), np.sort(other.boxes_xyxy, 0), atol=0.5)
            )
        if self.verb == "generate":
            return [image.recipe for image in one] == [image.recipe for image in other] and all(
                (np.asarray(a.image) == np.asarray(b.image)).all() for a, b in zip(one, other, strict=True)
            )
        assert isinstance(one, Answer)
        assert isinstance(other, Answer)
        return one.text == other.text or not self.steady


def name(row):
    return f"{row[1]} by {row[0].name}"


@pytest.fixture
def case(request, photos, tmp_path):
    kind, verb = request.param
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photos[0].read_bytes()[:2000])
    good, bad = (photos[1:4], broken) if verb in OVER_IMAGES else (["a red cat", "a dog", "a mat"], "  ")
    return Case(verb, kind.make(request), kind.options.get(verb, {}), good, bad, kind.steady)


def each_kind(rows):
    return pytest.mark.parametrize("case", rows, ids=name, indirect=True)


@each_kind(IMAGE_ROWS)
def test_one_path_or_string(case):
    by_path, by_string = case(case.good[0]), case(str(case.good[0]))
    assert case.same(case.unit(by_path), case.unit(by_string))
    if case.verb != "similarity":
        assert type(by_path) is OVER_IMAGES[case.verb]
        assert by_path.source == by_string.source == str(case.good[0])
        assert by_path.model
        assert by_path.model in repr(by_path)
        assert (
            type(by_path).model_validate_json(by_path.model_dump_json()).model_dump_json() == by_path.model_dump_json()
        )


@each_kind(TEXT_ROWS)
def test_one_text(case):
    result = case(case.good[0])
    assert type(result) is OVER_TEXTS[case.verb]
    assert result.model
    assert result.source == case.good[0]


@each_kind(ROWS)
def test_sequences_keep_their_order(case):
    alone = [case.unit(case(item)) for item in case.good]
    text = isinstance(case.good[0], str)
    forms = {
        "list": case.good,
        "tuple": tuple(case.good),
        "array of strings": np.array([str(item) for item in case.good]),
        "array of objects": np.array(case.good, dtype=object),
        "mixed": list(case.good) if text else [str(case.good[0]), case.good[1], case.good[2].read_bytes()],
    }
    for form, inputs in forms.items():
        units = case.units(case(inputs))
        assert len(units) == 3, form
        for unit, expected in zip(units, alone, strict=True):
            assert case.same(unit, expected), form
        if case.verb not in JOINED and form != "mixed":
            assert [unit.source for unit in units] == [str(item) for item in case.good], form


STEADY_ROWS = [(kind, verb) for kind, verb in ROWS if kind.steady and "at loopback" in kind.name]


@each_kind(STEADY_ROWS)
def test_hosted_answers_tell_the_pictures_apart(case):
    """Or no test here could see that they came in another order."""
    said = [case(item) for item in case.good]
    assert not any(case.same(one, other) for i, one in enumerate(said) for other in said[:i])


@each_kind(ROWS)
def test_empty_list(case):
    result = case([])
    if case.verb in JOINED:
        assert case.units(result) == []
    else:
        assert result == []


@each_kind(ROWS)
def test_iterators_are_lazy(case):
    alone = [case.unit(case(item)) for item in case.good]
    read = []

    def endless():
        while True:
            for item in case.good:
                read.append(item)
                yield item

    results = case(endless(), **case.small_batches)
    assert read == [], "something was read before the first next"
    first = next(results)
    ahead = getattr(case.model, "concurrency", 2)
    assert 1 <= len(read) <= 1 + ahead
    assert case.same(case.unit(first), alone[0])
    assert case.same(case.unit(next(results)), alone[1])
    assert len(read) <= 2 + ahead
    results.close()


@each_kind(ROWS)
def test_a_bad_input_is_returned_in_its_place(case):
    inputs = [case.good[0], case.bad, case.good[1]]
    alone = [case.unit(case(item)) for item in case.good[:2]]
    if case.verb == "similarity":
        matrix = case(inputs, on_error="return")
        assert np.isnan(matrix[1]).all()
        assert np.allclose(matrix[[0, 2]], alone, atol=1e-4)
        return
    result = case(inputs, on_error="return")
    if case.verb in JOINED:
        failures, units = list(result.failures), list(result.vectors)
    else:
        assert isinstance(result[1], vk.Failure)
        failures, units = [result[1]], [result[0], result[2]]
    assert [failure.index for failure in failures] == [1]
    assert isinstance(failures[0].error, vk.VisionkitError)
    if isinstance(case.bad, Path):
        assert failures[0].source == str(case.bad)
        assert str(case.bad) in str(failures[0].error)
    for unit, expected in zip(units, alone, strict=True):
        assert case.same(unit, expected)
    from_iterator = list(case(iter(inputs), on_error="return"))
    assert [isinstance(item, vk.Failure) for item in from_iterator] == [False, True, False]
    assert from_iterator[1].index == 1


@each_kind(ROWS)
def test_a_bad_input_is_raised_with_what_was_answered_before(case):
    inputs = [case.good[0], case.bad, case.good[1]]
    with pytest.raises(vk.VisionkitError) as caught:
        case(inputs)
    if isinstance(case.bad, Path):
        assert str(case.bad) in str(caught.value)
    assert len(caught.value.results) == 1
    alone = case.unit(case(case.good[0]))
    first = caught.value.results[0]
    assert case.same(case.unit(first), alone)
    results = case(iter(inputs), **case.small_batches)
    assert case.same(case.unit(next(results)), alone)
    with pytest.raises(vk.VisionkitError):
        next(results)


@each_kind(ROWS)
def test_what_is_neither_one_nor_many(case):
    for wrong in ({case.good[0]}, {case.good[0]: 1}, None, 3):
        with pytest.raises(vk.VisionkitError, match=r"list\(x\)|is no input|must be|is empty|no text"):
            case(wrong)
    with pytest.raises(vk.VisionkitError, match="on_error='ignore' must be 'raise' or 'return'"):
        case([case.good[0]], on_error="ignore")


@each_kind(IMAGE_ROWS)
def test_a_batch_in_one_array_is_refused(case):
    with pytest.raises(vk.VisionkitError, match=r"is a batch of images, not one: give list\(x\)"):
        case(np.zeros((2, 8, 8, 3), np.uint8))
    pictures = [np.full((8, 8, 3), 90 * i, np.uint8) for i in range(3)]
    assert len(case.units(case(list(np.stack(pictures))))) == 3


TUNABLE = [(kind, "fine_tune") for kind in KINDS if "fine_tune" in kind.verbs]


@pytest.mark.parametrize("kind", [kind for kind, _ in TUNABLE], ids=lambda kind: kind.name)
def test_every_embedder_can_be_fine_tuned(kind, request):
    random = np.random.default_rng(0)

    def picture(channel):
        pixels = random.integers(0, 40, (24, 24, 3), dtype=np.uint8)
        pixels[..., channel] += 180
        return pixels

    data = [(picture(0), "red") for _ in range(4)] + [(picture(2), "blue") for _ in range(4)]
    run = vk.fine_tune(data, model=kind.make(request), epochs=20)
    assert run.labels == ("blue", "red")
    answers = vk.classify([picture(0), picture(2)], model=run.model)
    assert [answer.label for answer in answers] == ["red", "blue"]
