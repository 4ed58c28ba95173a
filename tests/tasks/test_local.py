"""Batches through a model of this machine: out of memory halves them, and no answer is lost or doubled."""

import logging

import numpy as np
import pytest
import torch

import visionkit as vk
from visionkit.testing import FakeClassifier


class Small(FakeClassifier):
    """A classifier with memory for so many pictures at once; it tells black from white."""

    def __init__(self, room):
        super().__init__(["black", "white"])
        self.room = room
        self.seen = []

    def class_logits(self, batch):
        self.seen.append(len(batch))
        if len(batch) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        bright = batch.pixels.mean((1, 2, 3))
        return torch.stack([1 - bright, bright], dim=1) * 20


def pictures(count):
    return [np.full((9, 9, 3), 255 * (number % 3 == 0), np.uint8) for number in range(count)]


@pytest.mark.parametrize("room", [1, 2, 3, 5, 8, 100])
@pytest.mark.parametrize("count", [1, 2, 7, 13])
def test_every_picture_is_answered_once_and_in_order(room, count, caplog):
    model = Small(room)
    with caplog.at_level(logging.WARNING, "visionkit"):
        found = vk.classify(pictures(count), model=model, batch_size=5)
    assert [c.label for c in found] == ["white" if number % 3 == 0 else "black" for number in range(count)]
    said = [record.message for record in caplog.records]
    ran_out = min(5, count) > room
    assert said == ([f"out of memory with {min(5, count)} pictures at once; going on with fewer"] if ran_out else [])
    assert sum(size for size in model.seen if size <= room) == count


def test_the_smaller_batch_is_kept():
    model = Small(2)
    vk.classify(pictures(16), model=model, batch_size=8)
    assert model.seen == [8, 4, *[2] * 8]


def test_failures_keep_their_places():
    sources = pictures(6)
    sources[1] = b"no picture"
    found = vk.classify(sources, model=Small(2), batch_size=6, on_error="return")
    assert [type(answer).__name__ for answer in found] == ["Classification", "Failure", *["Classification"] * 4]
    assert [answer.label for answer in found[2:]] == ["black", "white", "black", "black"]


def test_one_picture_that_is_too_much_is_torchs_error():
    model = Small(0)
    with pytest.raises(torch.OutOfMemoryError):
        vk.classify(pictures(3), model=model)
    assert model.seen == [3, 2, 1]
