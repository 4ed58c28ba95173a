"""Pictures with several labels each: trained with a yes or no for every label."""

from __future__ import annotations

import json

import numpy as np
import pytest

import visionkit as vk
from visionkit.errors import ModelLoadError
from visionkit.models.folder import as_json, read_settings, sealed


def pictures(count=96, size=12):
    """Squares of red, green and blue, any of them or none, in places of their own."""
    random = np.random.default_rng(0)
    pairs = []
    for i in range(count):
        picture = random.integers(0, 50, (size, size, 3), dtype=np.uint8)
        names = [name for bit, name in enumerate(("red", "green", "blue")) if i >> bit & 1]
        for channel, name in enumerate(("red", "green", "blue")):
            if name in names:
                top, left = random.integers(0, size - 6, 2)
                picture[top : top + 6, left : left + 6, channel] = 220
        pairs.append((picture, names))
    return pairs


def scores(model):
    square = np.zeros((12, 12, 3), np.uint8)
    square[2:8, 2:8, 0] = 220
    square[5:11, 5:11, 2] = 220
    return vk.classify(square, model=model).scores


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    return vk.train(pictures(), epochs=20, batch_size=16, learning_rate=1e-2, out=folder), folder


def test_from_scratch(trained):
    run, folder = trained
    assert run.labels == ("blue", "green", "red")
    assert run.metrics["accuracy"] > 0.9
    assert run.figures["mean_average_precision"].value > 0.9
    assert run.confusion == ()
    assert run.data.multi_label
    found = scores(run.model)
    assert min(found["red"], found["blue"]) > 0.5 > found["green"], "a yes or no for each"
    assert sum(found.values()) > 1.0
    assert "multi_label" in json.loads((folder / "visionkit.json").read_text())
    assert scores(folder) == found, "the saved model answers likewise"
    assert "TrainingRun(20 epochs, 3 classes" in repr(run)
    assert run._repr_html_()
    assert "red" in (folder / "report.html").read_text()


def test_a_head():
    run = vk.fine_tune(pictures(32), epochs=20, validation=0.5)
    assert run.model.multi_label
    assert run.metrics["accuracy"] > 0.6
    assert sum(scores(run.model).values()) != pytest.approx(1.0)


def test_fine_tuning_all_of_it():
    model = vk.load_model("timm:test_resnet", pretrained=False, device="cpu")
    run = vk.fine_tune(pictures(16), model=model, train="last:1", epochs=1, validation=0.5)
    assert run.model.multi_label
    assert run.labels == ("blue", "green", "red")


def test_a_model_of_single_labels_says_so(trained, tmp_path):
    run, _ = trained
    assert run.model.multi_label
    single = vk.load_model("visionkit:simple_cnn", device="cpu")
    assert sum(vk.classify(np.zeros((4, 4), np.uint8), model=single).scores.values()) == pytest.approx(1.0)
    vk.save_model(single, tmp_path / "single")
    assert vk.load_model(tmp_path / "single").multi_label is False


def test_a_flag_that_is_none_is_refused(trained, tmp_path):
    run, _ = trained
    vk.save_model(run.model, tmp_path / "model")
    settings = sealed({**read_settings(tmp_path / "model"), "multi_label": 1})
    (tmp_path / "model" / "visionkit.json").write_bytes(as_json(settings))
    with pytest.raises(ModelLoadError, match="multi_label is 1, neither true nor false"):
        vk.load_model(tmp_path / "model")
