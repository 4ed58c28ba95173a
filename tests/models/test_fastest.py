"""`speed="fastest"`: int8 by OpenVINO, learnt from pictures, compared with float32, and kept."""

from __future__ import annotations

import copy
import logging
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch
from torch import nn

import visionkit as vk
from visionkit.cnn import SimpleCNN
from visionkit.errors import InputError
from visionkit.models.int8 import WANTED, Int8, Likeness, compare
from visionkit.models.openvino import Engine, UnfitError, quantize, runtime
from visionkit.training.heads import HeadClassifier

LABELS = ["red", "green", "blue"]
PREPROCESS = vk.Preprocess(size_wh=(24, 24), mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.INFO, "visionkit")
    monkeypatch.setenv("VISIONKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pictures(count):
    random = np.random.default_rng(0)
    made = random.integers(0, 120, (count, 24, 24, 3), np.uint8)
    for i, one in enumerate(made):
        one[..., i % 3] += 100
    return list(made)


def network():
    """Trained for a moment: random weights give near ties, which say nothing of int8."""
    shown = next(vk.Batches(pictures(96), PREPROCESS, batch_size=96, device="cpu")).pixels
    target = torch.arange(96) % 3
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(3)
        module = SimpleCNN(3)
        optimizer = torch.optim.Adam(module.parameters(), 0.01)
        for _ in range(25):
            loss = nn.functional.cross_entropy(module(shown), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return module


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    return vk.save_model(vk.wrap_model(network(), preprocess=PREPROCESS, labels=LABELS), folder)


def load(saved, **options):
    return vk.load_model(saved, module=SimpleCNN(3), device="cpu", speed="fastest", **options)


def answers(model, shown):
    batch = next(vk.Batches(shown, PREPROCESS, batch_size=len(shown), device="cpu"))
    return model.class_logits(batch), model.image_features(batch)


def test_int8_learns_from_pictures_and_is_kept_for_the_next_time(saved, cache, caplog, tmp_path):
    shown = pictures(64)
    model = load(saved, calibration=iter(shown))
    assert "in int8: cosine" in caplog.text
    plain = vk.load_model(saved, module=SimpleCNN(3), device="cpu")
    for ours, theirs in zip(answers(model, shown), answers(plain, shown), strict=True):
        assert not torch.equal(ours, theirs), "what ran was not int8"
        assert torch.cosine_similarity(ours, theirs).min() > 0.97
    assert [r.label for r in vk.classify(shown[:9], model=model)] == [
        r.label for r in vk.classify(shown[:9], model=plain)
    ]
    # the save is exact, and what is trained or looked into is the plain module
    assert vk.verify(vk.save_model(model, tmp_path / "again"), module=SimpleCNN(3)).max_difference < 1e-6
    (kept,) = (cache / "int8").iterdir()
    stamp = (kept / "network.bin").stat().st_mtime_ns
    caplog.clear()
    again = load(saved, calibration=shown)
    assert f"in int8, from {kept}: cosine" in caplog.text
    assert (kept / "network.bin").stat().st_mtime_ns == stamp
    assert torch.equal(answers(again, shown)[0], answers(model, shown)[0])
    # pictures of another size go to the form
    larger = next(vk.Batches(shown[:3], vk.Preprocess(size_wh=(32, 32)), device="cpu"))
    assert torch.equal(again.class_logits(larger), plain.class_logits(larger))
    # a head over it
    head = HeadClassifier(again, nn.Linear(128, 2), ["a", "b"])
    batch = next(vk.Batches(shown[:4], PREPROCESS, device="cpu"))
    assert torch.equal(head.image_features(batch), again.image_features(batch))
    assert not any(name.startswith("openvino_telemetry") for name in sys.modules)
    # a module that changed is another
    with torch.no_grad():
        again.module.head.bias += 5
    assert torch.allclose(answers(again, shown)[0], answers(plain, shown)[0] + 5, atol=1e-3)


@pytest.mark.slow
def test_until_enough_pictures_came_by_it_is_default(saved, cache, caplog):
    model, plain = load(saved), vk.load_model(saved, module=SimpleCNN(3), device="cpu")
    shown = pictures(WANTED)
    few = shown[: WANTED - 1]
    assert torch.equal(answers(model, few)[0], answers(plain, few)[0])
    assert not cache.exists()
    answers(model, shown[:1])
    assert "int8 from 256 pictures" in caplog.text
    assert not torch.equal(answers(model, shown)[0], answers(plain, shown)[0])
    (kept,) = (cache / "int8").iterdir()
    assert not torch.equal(answers(load(saved), shown[:2])[0], answers(plain, shown[:2])[0]), "the cache was not used"
    (kept / "network.bin").write_bytes(b"other")
    caplog.clear()
    assert torch.equal(answers(load(saved), few)[0], answers(plain, few)[0])
    assert "is not what was kept" in caplog.text


class Moody(nn.Module):
    """Decides by the values of its pixels, which no compiler follows."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3 * 24 * 24, 3)

    def forward(self, pixels):
        return self.head(pixels.flatten(1)) * (2 if float(pixels.mean()) > 0 else 3)


def test_a_module_that_cannot_be_converted_runs_as_before(caplog):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        own = Moody()
    model = vk.wrap_model(own, preprocess=PREPROCESS, labels=LABELS, device="cpu", speed="fastest")
    plain = vk.wrap_model(own, preprocess=PREPROCESS, labels=LABELS, device="cpu")
    shown = pictures(WANTED)
    assert torch.equal(answers(model, shown)[0], answers(plain, shown)[0])
    assert "Moody runs as with speed='default': OpenVINO does not take it" in caplog.text
    assert torch.equal(answers(model, shown[:3])[0], answers(plain, shown[:3])[0])


def test_what_is_not_near_is_told():
    pixels = torch.arange(40.0).reshape(20, 2)
    logits = torch.eye(3)[torch.arange(20) % 3] * 9

    def theirs(part):
        rows = part[:, 0].long() // 2
        return logits[rows], logits[rows] + 1

    assert compare(theirs, theirs, pixels) == Likeness(pytest.approx(1.0), 1.0)
    turned = compare(lambda part: (theirs(part)[0].roll(1, 1), theirs(part)[1]), theirs, pixels)
    assert turned.agreement == 0.0
    assert not turned.near
    assert not compare(lambda part: (theirs(part)[0], -theirs(part)[1]), theirs, pixels).near
    assert not compare(lambda part: tuple(o * float("nan") for o in theirs(part)), theirs, pixels).near
    flat = compare(
        lambda part: tuple(-0.001 * o for o in theirs(part)),
        lambda part: tuple(0.001 * o for o in theirs(part)),
        pixels,
    )
    assert flat.agreement == 1.0, "where float32 itself cannot tell labels apart, none is wrong"


def test_wrong_calibrations(saved):
    with pytest.raises(InputError, match="calibration= has 3 pictures that load; give 16 or more"):
        load(saved, calibration=[*pictures(3), b"no picture"])
    with pytest.raises(InputError, match="calibration= has no picture that loads"):
        load(saved, calibration=[])
    with pytest.raises(InputError, match="takes a list of pictures"):
        load(saved, calibration="cat.jpg")
    with pytest.raises(InputError, match="calibration= goes with speed='fastest' on a CPU"):
        vk.load_model("visionkit:simple_cnn", device="cpu", calibration=pictures(16))


@pytest.mark.slow
def test_nobody_is_told_of_it():
    """Importing OpenVINO, or NNCF, would report to their makers, if their telemetry package was to be found."""
    code = (
        "import sys; from visionkit.models.openvino import runtime; runtime(); runtime('nncf'); "
        "print([m for m in sys.modules if m.startswith('openvino_telemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_what_is_kept_is_for_one_network_used_in_one_way():
    def place(module, shape=(3, 24, 24), what="all"):
        return Int8(module, None, shape=shape, what=what, chosen=False)._folder("seen")

    relu, sigmoid = SimpleCNN(3), SimpleCNN(3, activation="sigmoid")
    sigmoid.load_state_dict(relu.state_dict())
    assert place(relu) == place(copy.deepcopy(relu))
    others = [place(sigmoid), place(SimpleCNN(3)), place(relu, shape=(3, 32, 32)), place(relu, what="a part")]
    assert len({place(relu), *others}) == 5
    shown, kept = pictures(2), set()
    for layer in (None, "features.7"):
        model = vk.wrap_model(relu, preprocess=PREPROCESS, labels=LABELS, features=layer, device="cpu", speed="fastest")
        answers(model, shown)
        kept.add(model._forms._learner._folder("seen"))
    assert len(kept) == 2


def test_what_openvino_or_the_disk_refuse_is_a_reason_to_do_without(monkeypatch, tmp_path):
    with pytest.raises(UnfitError, match="RuntimeError"):
        Engine((b"no network", b""), [0])
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho the key is ${SOME_API_KEY:-hidden} >&2\nexit 1\n")
    program.chmod(0o700)
    pixels = np.zeros((1, 3, 2, 2), np.float16)
    with monkeypatch.context() as patch:
        patch.setenv("SOME_API_KEY", "secret")
        patch.setattr(sys, "executable", str(program))
        with pytest.raises(UnfitError, match="NNCF: the key is hidden"):
            quantize((b"", b""), pixels)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(UnfitError, match="gone: No such file or directory"):
        quantize((b"", b""), pixels)

    def none():
        raise FileNotFoundError(2, "No usable temporary directory")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(UnfitError, match="^No usable temporary directory"):
        quantize((b"", b""), pixels)


def test_an_engine_that_fails_later_is_given_up(caplog, tmp_path):
    openvino = runtime()
    given = openvino.opset13.parameter([-1, 7, 24, 24], np.float32)  # pictures have three channels
    openvino.save_model(openvino.Model([openvino.opset13.relu(given)], [given]), tmp_path / "n.xml")
    engine = Engine(((tmp_path / "n.xml").read_bytes(), (tmp_path / "n.bin").read_bytes()), [0, 0])
    own, shown = SimpleCNN(3), pictures(4)
    model = vk.wrap_model(own, preprocess=PREPROCESS, labels=LABELS, device="cpu", speed="fastest")
    plain = vk.wrap_model(own, preprocess=PREPROCESS, labels=LABELS, device="cpu")
    expected = vk.classify(shown, model=plain)
    assert vk.classify(shown, model=model) == expected
    model._forms._learner._engine, model._forms._learner._done = engine, True
    for _ in range(2):
        assert vk.classify(shown, model=model) == expected
    assert caplog.text.count("SimpleCNN runs as with speed='default' from now on: OpenVINO failed: ") == 1
