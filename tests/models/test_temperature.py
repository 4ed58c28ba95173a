"""The temperature of a calibrated model: applied, saved, proven with the rest, and sealed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

import visionkit as vk
from visionkit.errors import ModelLoadError
from visionkit.models.folder import SETTINGS_FILE, sealed
from visionkit.training.heads import HeadClassifier

SMALL = vk.Preprocess(size_wh=(16, 16), resize="squash")


def classifier():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    nn.init.normal_(module[-1].weight, std=20.0)
    return vk.wrap_model(module, preprocess=SMALL, labels=["a", "b", "c"], name="own")


def headed():
    embedder = vk.load_model("visionkit:efficientnet_lite0", pretrained=False)
    return HeadClassifier(embedder, nn.Linear(1280, 3), ["a", "b", "c"])


def scores(model, picture):
    answer = vk.classify(picture, model=model)
    return np.array([answer.scores[label] for label in "abc"])


@pytest.mark.parametrize("make", [classifier, headed])
def test_logits_are_divided_by_it(make, cat):
    model = make()
    before = scores(model, cat)
    model.temperature = 2.5
    expected = np.exp(np.log(before) / 2.5)
    assert scores(model, cat) == pytest.approx(expected / expected.sum(), rel=1e-5)
    assert np.abs(scores(model, cat) - before).max() > 1e-4


def test_it_is_saved_and_proven(tmp_path, cat):
    model = classifier()
    model.temperature = 1.7312345678901234
    folder = vk.save_model(model, tmp_path / "own")
    assert json.loads((folder / SETTINGS_FILE).read_text())["temperature"] == 1.7312345678901234
    again = vk.load_model(folder, module=model.module)
    assert again.temperature == model.temperature
    assert (scores(again, cat) == scores(model, cat)).all()
    assert vk.verify(folder, module=model.module).passed


def change(folder, **fields):
    path = folder / SETTINGS_FILE
    settings = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps(settings))
    return settings


def test_a_changed_one_is_refused(tmp_path):
    model = classifier()
    folder = vk.save_model(model, tmp_path / "own")
    settings = change(folder, temperature=3.0)
    for load in (vk.load_model, vk.verify):
        with pytest.raises(ModelLoadError, match="was changed after the model was saved"):
            load(folder, module=model.module)
    (folder / SETTINGS_FILE).write_text(json.dumps(sealed(settings)))  # by someone who knows of the seal
    assert not vk.verify(folder, module=model.module).passed


@pytest.mark.parametrize("value", [0.0, -1.0, "2", None, True, 10**400, 1e300, [1.0]])
def test_one_that_is_none_is_refused(tmp_path, value):
    model = classifier()
    folder = vk.save_model(model, tmp_path / "own")
    (folder / SETTINGS_FILE).write_text(json.dumps(sealed(change(folder, temperature=value))))
    with pytest.raises(ModelLoadError, match="the temperature .* is none"):
        vk.load_model(folder, module=model.module)


def test_folders_of_before_have_one_of_1(tmp_path):
    model = classifier()
    folder = vk.save_model(model, tmp_path / "own")
    settings = json.loads((folder / SETTINGS_FILE).read_text())
    del settings["temperature"]
    (folder / SETTINGS_FILE).write_text(json.dumps(sealed(settings)))
    assert vk.load_model(folder, module=model.module).temperature == 1.0


def test_an_embedder_has_none(tmp_path):
    model = vk.wrap_model(nn.Sequential(nn.Flatten(), nn.Linear(768, 4)), preprocess=SMALL)
    folder = vk.save_model(model, tmp_path / "own")
    assert not hasattr(vk.load_model(folder, module=model.module), "temperature")
    (folder / SETTINGS_FILE).write_text(json.dumps(sealed(change(folder, temperature=2.0))))
    with pytest.raises(ModelLoadError, match="has a temperature, which .* does not apply"):
        vk.load_model(folder, module=model.module)
