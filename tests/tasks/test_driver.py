"""What the driver promises, apart from any model."""

from __future__ import annotations

import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

import visionkit as vk
from visionkit.errors import InputError, ModelError, SourceError
from visionkit.tasks.driver import answer, as_sequence, chunks, each
from visionkit.tasks.hosted import over_pictures
from visionkit.testing import FakeClassifier


def double(value):
    if value < 0:
        raise SourceError(f"{value} is negative")
    return 2 * value


def call(inputs, **options):
    return answer(inputs, each(double, str), single=lambda value: isinstance(value, int), **options)


def test_forms():
    assert call(3) == 6
    assert call([1, 2]) == [2, 4]
    assert call((1, 2)) == [2, 4]
    assert call(np.array([1, 2], dtype=object)) == [2, 4]
    assert list(call(iter([1, 2]))) == [2, 4]
    assert call([]) == []


def test_failures():
    outcome = call([1, -1, 2], on_error="return")
    assert outcome[0::2] == [2, 4]
    assert outcome[1] == vk.Failure("-1", 1, SourceError("-1 is negative"))
    with pytest.raises(SourceError, match="-1 is negative") as caught:
        call([1, 2, -1, 3])
    assert caught.value.results == [2, 4]
    assert isinstance(call(-1, on_error="return"), vk.Failure)


@pytest.mark.parametrize(
    ("wrong", "hint"), [({1}, r"give list\(x\)"), (object(), "give one, or a list, tuple or iterator")]
)
def test_neither(wrong, hint):
    with pytest.raises(InputError, match=hint):
        as_sequence(wrong)


def test_a_file_object_is_one_source(cat):
    with cat.open("rb") as file:
        result = vk.classify(file)
    assert result.source == str(cat)
    assert vk.classify(io.BytesIO(cat.read_bytes())).label == result.label


def test_a_callers_own_error_comes_after_what_came_before(cat):
    def sources():
        yield cat
        yield cat
        raise RuntimeError("the camera is gone")

    for run in (
        lambda: vk.classify(sources(), model=FakeClassifier(["a"])),
        lambda: over_pictures(lambda picture, name: name, 4)(sources()),
    ):
        results = run()
        assert next(results)
        assert next(results)
        with pytest.raises(RuntimeError, match="the camera is gone"):
            next(results)


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("visionkit")]


def test_no_thread_is_left(cat):
    def endless():
        while True:
            yield cat

    results = vk.classify(endless(), model=FakeClassifier(["a"]))
    next(results)
    results.close()
    hosted = over_pictures(lambda picture, name: name, 3)(endless())
    next(hosted)
    hosted.close()
    vk.classify([cat] * 3, model=FakeClassifier(["a"]))
    deadline = time.monotonic() + 10
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() == []


def test_a_bar_is_shown_when_it_is_asked_for(capsys):
    call([1, 2, 3], progress=True)
    assert "3/3" in capsys.readouterr().err
    call([1, 2, 3])
    call([1, 2, 3], progress=False)
    assert capsys.readouterr().err == ""


def test_a_bar_counts_an_iterator_too(capsys):
    assert list(call(iter([1, 2, 3]), progress=True)) == [2, 4, 6]
    assert "3input" in capsys.readouterr().err


def test_errors_of_the_model_carry_what_was_answered(cat):
    class Tired(FakeClassifier):
        def class_logits(self, batch):
            if 2 in batch.indices:
                raise ModelError("the model is tired")
            return super().class_logits(batch)

    with pytest.raises(ModelError, match="tired") as caught:
        vk.classify([cat] * 4, model=Tired(["a"]), batch_size=2)
    assert len(caught.value.results) == 2


def test_own_sequences_are_many(cat):
    class Paths:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return [cat, cat][index]

        def __iter__(self):
            return iter([cat, cat])

        def __contains__(self, item):
            return item == cat

    assert len(vk.classify(Paths(), model=FakeClassifier(["a"]))) == 2


def test_chunks_keep_what_came_before_an_error():
    def three():
        yield from (1, 2, 3)
        raise RuntimeError("gone")

    taken = chunks(three(), 2)
    assert [next(taken), next(taken)] == [[1, 2], [3]]
    with pytest.raises(RuntimeError, match="gone"):
        next(taken)
    assert list(chunks(iter(()), 2)) == []


def test_one_open_picture_given_many_times(cat):
    with Image.open(cat) as picture:
        answers = vk.classify([picture] * 16, model=FakeClassifier(["a"]))
    assert len(answers) == 16


def test_a_slow_source_does_not_hold_an_answer_back(cat):
    answered = threading.Event()

    def slow():
        yield cat
        assert answered.wait(30), "the second picture was read before the first answer"
        yield cat

    def work(picture, name):
        answered.set()
        return name

    assert next(over_pictures(work, 4)(slow())) == str(cat)
