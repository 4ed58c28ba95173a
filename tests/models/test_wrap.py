"""The user's own module as a model."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
import torch
from torch import nn

import visionkit as vk
from visionkit.errors import InputError, ModelLoadError
from visionkit.models.protocols import Classifier, ImageEmbedder, Savable

SMALL = vk.Preprocess(size_wh=(8, 8), resize="squash")


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.body = nn.Linear(4, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, pixels):
        return self.head(torch.relu(self.body(self.conv(pixels).mean((2, 3)))))


@pytest.fixture
def own():
    torch.manual_seed(0)
    return Own()


@pytest.fixture
def batch(cat):
    return next(vk.Batches([cat, cat], SMALL, device="cpu"))


def test_with_labels_it_classifies_and_embeds(own, batch):
    model = vk.wrap_model(own, preprocess=SMALL, labels=["a", "b"], device="cpu")
    assert isinstance(model, Classifier)
    assert isinstance(model, ImageEmbedder)
    assert isinstance(model, Savable)
    assert model.name == "Own"
    with torch.no_grad():
        assert torch.allclose(model.class_logits(batch), own(batch.pixels))
        before_head = torch.relu(own.body(own.conv(batch.pixels).mean((2, 3))))
    assert torch.allclose(model.image_features(batch), before_head)


def test_features_may_be_named(own, batch):
    model = vk.wrap_model(own, preprocess=SMALL, labels=["a", "b"], features="body", device="cpu")
    with torch.no_grad():
        assert torch.allclose(model.image_features(batch), own.body(own.conv(batch.pixels).mean((2, 3))))
    maps = vk.wrap_model(own, preprocess=SMALL, features="conv", device="cpu")
    with torch.no_grad():
        assert torch.allclose(maps.image_features(batch), own.conv(batch.pixels).mean((2, 3)))


def test_without_labels_the_output_is_the_embedding(own, batch):
    model = vk.wrap_model(own, preprocess=SMALL, device="cpu", name="mine")
    assert not isinstance(model, Classifier)
    with torch.no_grad():
        assert torch.allclose(model.image_features(batch), own(batch.pixels))
    assert vk.embed(np.zeros((4, 4, 3), np.uint8), model=model).model == "mine"


def test_the_module_is_copied(own):
    own.train()
    model = vk.wrap_model(own, preprocess=SMALL, labels=["a", "b"])
    assert own.training
    assert not model.module.training
    with torch.no_grad():
        model.module.head.weight.zero_()
    assert own.head.weight.abs().sum() > 0


def test_a_copy_of_the_model_catches_its_own_features(own, batch):
    model = vk.wrap_model(own, preprocess=SMALL, labels=["a", "b"], device="cpu")
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.module.body.weight.zero_()
        twin.module.body.bias.fill_(1.0)
    assert torch.equal(twin.image_features(batch), torch.ones((2, 6)))
    assert not torch.equal(model.image_features(batch), torch.ones((2, 6)))


def test_threads_do_not_see_each_others_features(own, batch):
    model = vk.wrap_model(own, preprocess=SMALL, labels=["a", "b"], device="cpu")
    black = next(vk.Batches([np.zeros((8, 8), np.uint8)] * 2, SMALL, device="cpu"))
    expected = {id(batch): model.image_features(batch), id(black): model.image_features(black)}
    wrong: list[int] = []

    def work(mine):
        wrong.extend(1 for _ in range(200) if not torch.equal(model.image_features(mine), expected[id(mine)]))

    threads = [threading.Thread(target=work, args=(b,)) for b in (batch, black, batch)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("cat", "must be a list of names, not the one string 'cat'"),
        ([], "must name at least one class"),
        (["a", " "], "label ' ' is no name"),
        (["a", 3], "label 3 is no name"),
        (["a", "b", "a"], "label 'a' is given twice"),
    ],
)
def test_labels_that_are_none(own, labels, message):
    with pytest.raises(InputError, match=message):
        vk.wrap_model(own, preprocess=SMALL, labels=labels)


def test_other_errors(own, cat):
    with pytest.raises(InputError, match=r"wrap_model takes a torch.nn.Module, not str"):
        vk.wrap_model("resnet", preprocess=SMALL)
    with pytest.raises(InputError, match=r"features='nope' is no layer of the module; its first are: conv, body, head"):
        vk.wrap_model(own, preprocess=SMALL, features="nope")
    three = vk.wrap_model(own, preprocess=SMALL, labels=["a", "b", "c"])
    with pytest.raises(ModelLoadError, match=r"gives \(1, 2\) for 1 pictures, but there are 3 labels"):
        vk.classify(cat, model=three)
    flat = vk.wrap_model(nn.Flatten(0), preprocess=SMALL)
    with pytest.raises(ModelLoadError, match=r"the features of Flatten are \(192,\), not \(N, D\); name another layer"):
        vk.embed(cat, model=flat)


class Aside(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)
        self.aside = nn.Linear(3, 2)

    def forward(self, pixels):
        return self.head(pixels.mean((2, 3)))


def test_a_layer_that_is_not_run_gives_no_features(cat):
    model = vk.wrap_model(Aside(), preprocess=SMALL, labels=["a", "b"])
    assert vk.classify(cat, model=model).label in ("a", "b")
    with pytest.raises(ModelLoadError, match="the layer 'aside' of Aside is not run, so it gives no features; name"):
        vk.embed(cat, model=model)
    named = vk.wrap_model(Aside(), preprocess=SMALL, labels=["a", "b"], features="head")
    assert vk.embed(cat, model=named).vectors.shape == (1, 2)


def test_nan_is_a_failure_not_an_answer(cat):
    broken = Aside()
    nn.init.constant_(broken.head.bias, float("nan"))
    model = vk.wrap_model(broken, preprocess=SMALL, labels=["a", "b"])
    with pytest.raises(vk.VisionkitError, match=r"Aside gives NaN for .*cat\.jpg"):
        vk.classify(cat, model=model)
    assert isinstance(vk.classify([cat], model=model, on_error="return")[0], vk.Failure)


def test_plain_logits_are_the_answer_and_gradients_flow(cat):
    model = vk.load_model("visionkit:efficientnet_lite0", device="cpu")
    model.temperature = 2.0
    batch = next(vk.Batches([cat], model.preprocess, device="cpu"))
    pixels = batch.pixels.clone().requires_grad_()
    logits = model.plain_logits(pixels)
    torch.testing.assert_close(logits.detach(), model.class_logits(batch).clone(), atol=1e-4, rtol=0)
    torch.testing.assert_close(model.plain_features(pixels).detach(), model.image_features(batch), atol=1e-4, rtol=0)
    assert torch.autograd.grad(logits[0, 0], pixels)[0].abs().sum() > 0


def test_what_is_no_logits_is_said_wherever_it_is_asked_for(cat):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, pixels):
            maps = self.conv(pixels)
            return maps.mean((2, 3)), maps

    model = vk.wrap_model(Two(), preprocess=vk.Preprocess(size_wh=(16, 16)), labels=["a", "b"], device="cpu")
    for act in (lambda: vk.explain(cat, model=model), lambda: model.plain_answers(torch.zeros(1, 3, 16, 16))):
        with pytest.raises(ModelLoadError, match=r"Two gives tuple, not logits \(N, K\): wrap a module"):
            act()
