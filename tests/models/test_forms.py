"""Forms: what runs is fast and answers as the plain module does, which stays as it is."""

from __future__ import annotations

import copy
import logging
import threading

import numpy as np
import pytest
import torch
from torch import nn

import visionkit as vk
from visionkit.errors import InputError
from visionkit.models import forms
from visionkit.models.forms import Form, Forms, exactly

SMALL = vk.Preprocess(size_wh=(32, 32), resize="squash", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
CPU = torch.device("cpu")


@pytest.fixture
def bfloat16(monkeypatch):
    """As on a processor that multiplies bfloat16; others emulate it, slowly but to the same result."""
    monkeypatch.setattr("visionkit.pipeline.device.has_bfloat16", lambda: True)


def form_of(model, wh=None):
    width, height = wh or model.preprocess.size_wh
    with torch.inference_mode():
        return model._forms.of(model.module, model._tap, (3, height, width), model._forward)


def settle(module):
    """Batch normalisation as after training: no mean is 0, no deviation 1."""
    torch.manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 2.0)
            with torch.no_grad():
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(0, 0.2)


def kinds(module):
    return {type(layer) for layer in module.modules()}


NAMES = ["visionkit:efficientnet_lite0", "torchvision:resnet18", "timm:test_efficientnet", "timm:test_vit", "open_clip"]


@pytest.mark.parametrize(
    ("name", "speed"), [*((name, "default") for name in NAMES), *((name, "fast") for name in (NAMES[0], *NAMES[2:]))]
)
def test_every_speed_answers_as_exact_does(name, speed, photos, tiny_folder, bfloat16):
    def load(speed):
        if name == "open_clip":
            return vk.load_model(f"open_clip:{tiny_folder}", device="cpu", speed=speed)
        torch.manual_seed(0)
        options = {} if name.startswith("visionkit") else {"pretrained": False}
        model = vk.load_model(name, device="cpu", speed=speed, **options)
        if options:
            settle(model.module)
        return model

    exact, model = load("exact"), load(speed)
    if "lite0" in name and speed == "fast":  # emulated bfloat16 takes seconds for a picture: two of the four
        photos = photos[1:3]
    batch = next(vk.Batches(photos, exact.preprocess, device="cpu", speed="exact"))
    theirs, ours = exact.image_features(batch), model.image_features(batch)
    cosine = torch.cosine_similarity(theirs, ours).min()
    assert cosine > (1 - 1e-5 if speed == "default" else 0.995)
    assert ours.dtype == torch.float32
    if name != "open_clip":
        a, b = exact.class_logits(batch), model.class_logits(batch)
        assert (a.softmax(1) - b.softmax(1)).abs().max() < (1e-4 if speed == "default" else 0.05)
        if "lite0" in name:
            assert torch.equal(a.argmax(1), b.argmax(1))
    if speed == "fast":
        assert not torch.equal(theirs, ours), "it was not rounded"
    kept = model.module.state_dict()
    assert {k: v.dtype for k, v in kept.items()} == {k: v.dtype for k, v in exact.module.state_dict().items()}
    assert all(torch.equal(kept[k], v) for k, v in exact.module.state_dict().items())
    assert kinds(model.module) == kinds(exact.module)


def test_what_is_folded():
    for name, left in (("visionkit:efficientnet_lite0", 0), ("timm:test_efficientnet", 0), ("timm:test_resnet", 0)):
        model = vk.load_model(name, device="cpu", **({} if "lite0" in name else {"pretrained": False}))
        form = form_of(model)
        assert sum(isinstance(layer, nn.BatchNorm2d) for layer in form.module.modules()) == left, name
        assert form.layout == torch.channels_last
    vit = vk.load_model("timm:test_vit", pretrained=False, device="cpu")
    assert form_of(vit).module is vit.module  # nothing to gain, so nothing is copied
    exact = vk.load_model("timm:test_resnet", pretrained=False, device="cpu", speed="exact")
    assert form_of(exact).module is exact.module


class Shared(nn.Module):
    """One convolution before two normalisations; one used twice; one whose output is used beside its normalisation."""

    def __init__(self, case):
        super().__init__()
        self.case = case
        self.norm = nn.BatchNorm2d(4)  # registered before what it follows
        self.other = nn.BatchNorm2d(4)
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, pixels):
        x = self.first(pixels)
        if self.case == "two":
            x = self.norm(x) + self.other(x)
        elif self.case == "twice":
            x = self.norm(self.second(self.norm(self.second(x))))
        elif self.case == "beside":
            x = self.norm(x) + 3 * x
        elif self.case == "apart":
            x = self.norm(torch.relu(x))
        else:
            x = self.other(self.second(torch.relu(self.norm(x))))
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize(("case", "left"), [("two", 2), ("twice", 2), ("beside", 2), ("apart", 2), ("plain", 0)])
def test_only_what_gives_the_same_is_folded(case, left, photos):
    torch.manual_seed(0)
    own = Shared(case)
    settle(own)
    model = vk.wrap_model(own, preprocess=SMALL, labels=["a", "b"], device="cpu")
    batch = next(vk.Batches(photos, SMALL, device="cpu"))
    with torch.inference_mode():
        assert torch.allclose(model.class_logits(batch), model.module(batch.pixels), atol=1e-5)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in form_of(model).module.modules()) == left


class Views(nn.Module):
    """As in many tutorials: `view` refuses tensors that are laid out channels-last."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
        self.head = nn.Linear(4 * 28 * 28, 2)

    def forward(self, pixels):
        return self.head(self.body(pixels).view(len(pixels), -1))


class Float32Only(nn.Module):
    """Makes tensors of its own, which do not go with weights of another precision."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))
        self.head = nn.Linear(4, 2)

    def forward(self, pixels):
        return self.head(self.body(pixels).mean((2, 3)).float() @ torch.eye(4))


def test_a_module_that_refuses_the_layout_runs_without_it(photos):
    torch.manual_seed(0)
    model = vk.wrap_model(Views(), preprocess=SMALL, labels=["a", "b"], device="cpu")
    batch = next(vk.Batches(photos, SMALL, device="cpu"))
    with torch.inference_mode():
        assert torch.allclose(model.class_logits(batch), model.module(batch.pixels.contiguous()), atol=1e-5)
    form = form_of(model)
    assert form.layout == torch.contiguous_format
    assert nn.BatchNorm2d not in kinds(form.module)


def test_a_module_that_refuses_half_precision_runs_in_float32(photos, bfloat16, caplog):
    model = vk.wrap_model(Float32Only(), preprocess=SMALL, labels=["a", "b"], device="cpu", speed="fast")
    with caplog.at_level(logging.WARNING, "visionkit"):
        vk.classify(photos, model=model)
    assert "Float32Only runs in float32, not in torch.bfloat16: RuntimeError" in caplog.text
    form = form_of(model)
    assert form.dtype == torch.float32
    assert nn.BatchNorm2d not in kinds(form.module)


def test_fast_without_the_processor_is_default_and_says_so_once(monkeypatch, caplog, cat):
    monkeypatch.setattr("visionkit.pipeline.device.has_bfloat16", lambda: False)
    forms._say_no_bfloat16.cache_clear()
    with caplog.at_level(logging.WARNING, "visionkit"):
        for _ in range(2):
            fast = vk.load_model("visionkit:simple_cnn", device="cpu", speed="fast")
            vk.classify(cat, model=fast)
    assert caplog.text.count("no bfloat16, so speed='fast' is speed='default' here") == 1
    assert form_of(fast).dtype == torch.float32


def test_features_of_a_named_layer_come_from_the_form(photos, bfloat16):
    torch.manual_seed(0)
    own = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.Identity()),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 6, 3),
        nn.BatchNorm2d(6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 2),
    )
    settle(own)
    batch = next(vk.Batches(photos, SMALL, device="cpu"))
    for layer, end in (("0", 1), ("1", 2), ("2", 3), ("3", 4), ("4", 5)):
        with torch.inference_mode():
            truth = copy.deepcopy(own).eval()[:end](batch.pixels)
            truth = truth.mean((2, 3)) if truth.ndim == 4 else truth
        model = vk.wrap_model(own, preprocess=SMALL, labels=["a", "b"], features=layer, device="cpu")
        assert torch.allclose(model.image_features(batch), truth.flatten(1), atol=1e-5), layer
        fast = vk.wrap_model(own, preprocess=SMALL, labels=["a", "b"], features=layer, device="cpu", speed="fast")
        assert torch.cosine_similarity(fast.image_features(batch), truth.flatten(1)).min() > 0.999, layer


def test_a_changed_module_gets_a_new_form(photos):
    torch.manual_seed(0)
    model = vk.load_model("visionkit:simple_cnn", device="cpu")
    first = form_of(model)
    assert form_of(model).module is first.module
    before = vk.classify(photos[0], model=model)
    with torch.no_grad():
        model.module.head.bias[3] += 100.0
    assert vk.classify(photos[0], model=model).label == "class 3" != before.label
    optimizer = torch.optim.SGD(model.module.parameters(), lr=1.0)
    model.module.head.bias.grad = torch.zeros(10).index_fill(0, torch.tensor([5]), -1000.0)
    optimizer.step()
    assert vk.classify(photos[0], model=model).label == "class 5"
    model.module.head = nn.Linear(128, 10)
    with torch.no_grad():
        model.module.head.bias[7] += 100.0
    assert vk.classify(photos[0], model=model).label == "class 7"


def test_changes_that_torch_does_not_count_are_seen(photos):
    model = vk.load_model("visionkit:simple_cnn", device="cpu")
    first = form_of(model)
    head = model.module.head
    head.bias.data[3] += 100.0
    assert vk.classify(photos[0], model=model).label == "class 3"
    count = head.bias._version
    optimizer = torch.optim.SGD(model.module.parameters(), lr=1.0, fused=True)
    head.bias.grad = torch.zeros(10).index_fill(0, torch.tensor([5]), -1000.0)
    optimizer.step()
    assert vk.classify(photos[0], model=model).label == "class 5", f"{head.bias._version} after {count}"
    tuned = form_of(model)
    assert tuned is not first
    model.module.features[3].weight.data[32:] *= 0.5  # a part of a large one
    halved = form_of(model)
    assert halved is not tuned
    model.module.features[6].weight.data.mul_(torch.arange(9).view(3, 3) != 8)
    pruned = form_of(model)
    assert pruned is not halved
    head.bias.data[0] = float("nan")
    last = form_of(model)
    assert last is not pruned
    assert form_of(model) is last, "NaN is as it was"


def test_odd_tensors_are_part_of_a_form():
    class Odd(nn.Module):
        """A scale without dimensions, an empty buffer, one in whole numbers, one crosswise, one that lies on itself."""

        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1.0))
            self.register_buffer("nothing", torch.zeros(0, 3))
            self.register_buffer("count", torch.tensor(3))
            self.register_buffer("across", torch.ones(2, 3).T)
            self.register_buffer("spread", torch.zeros(1).expand(2, 3))

        def forward(self, pixels):
            return pixels.mean((2, 3)) @ self.across * self.scale

    model = vk.wrap_model(Odd(), preprocess=SMALL, labels=["a", "b"], device="cpu")
    first = form_of(model)
    assert form_of(model) is first
    model.module.scale.data.fill_(2.0)
    second = form_of(model)
    assert second is not first
    model.module.across.data[0, 1] = 3.0
    assert form_of(model) is not second


def test_within_exactly_the_plain_module_answers(photos):
    model = vk.load_model("visionkit:efficientnet_lite0", device="cpu")
    exact = vk.load_model("visionkit:efficientnet_lite0", device="cpu", speed="exact")
    batch = next(vk.Batches(photos, model.preprocess, device="cpu", speed="exact"))
    assert not torch.equal(model.class_logits(batch), exact.class_logits(batch))
    with exactly():
        assert torch.equal(model.class_logits(batch), exact.class_logits(batch))


def test_a_copy_has_a_form_of_its_own(photos):
    model = vk.load_model("visionkit:efficientnet_lite0", device="cpu")
    before = vk.embed(photos, model=model).vectors
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.module.head.bias[7] += 100.0
    assert form_of(twin).module is not form_of(model).module
    assert vk.classify(photos[0], model=twin).label == model.labels[7]
    assert np.array_equal(vk.embed(photos, model=model).vectors, before)
    assert np.array_equal(vk.embed(photos, model=twin).vectors, before)


def test_threads_share_one_form(photos):
    model = vk.load_model("timm:test_resnet", pretrained=False, device="cpu")
    batch = next(vk.Batches(photos, model.preprocess, device="cpu"))
    seen, answers = [], []

    def work():
        answers.append(model.class_logits(batch))
        seen.append(form_of(model).module)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 6
    assert all(torch.equal(answer, answers[0]) for answer in answers)
    assert len({id(module) for module in seen}) == 1


def test_making_a_form_draws_no_random_number(photos):
    model = vk.load_model("timm:test_resnet", pretrained=False, device="cpu")
    before = torch.random.get_rng_state()
    vk.classify(photos[0], model=model)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_unknown_speed():
    with pytest.raises(InputError, match="'slow' is not offered; choose one of 'default', 'exact', 'fast', 'fastest'"):
        Forms(CPU, "slow")


def test_pixels_of_any_precision_and_layout_are_taken():
    module = nn.Conv2d(3, 2, 1)
    pixels = torch.randn(1, 3, 4, 4).to(torch.bfloat16).to(memory_format=torch.channels_last)
    (answer,) = Form(module, None).run(lambda m, _, x: (m(x),), pixels)
    assert answer.dtype == torch.float32
    assert answer.is_contiguous()
