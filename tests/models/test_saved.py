"""Saved folders: complete, checked, and the same answers in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

import visionkit as vk
import visionkit.models.wrap
from visionkit.cnn import SimpleCNN
from visionkit.errors import CapabilityError, InputError, ModelLoadError, ModelNotFoundError
from visionkit.models.folder import ANSWERS_FILE, CARD_FILE, MAX_SETTINGS_BYTES, SETTINGS_FILE, WEIGHTS_FILE, sealed
from visionkit.testing import FakeClassifier

SMALL = vk.Preprocess(size_wh=(16, 16), resize="squash", mean=(0.4, 0.5, 0.6))


@pytest.fixture
def model():
    torch.manual_seed(0)
    own = SimpleCNN(3)
    return vk.models.wrap.ModuleClassifier(
        own,
        labels=["cat", "dog", "naïve 'quoted'"],
        name="mine",
        preprocess=SMALL,
        features=None,
        device=torch.device("cpu"),
        speed="exact",
        built_by=own.architecture(),
    )


@pytest.fixture
def saved(model, tmp_path):
    return vk.save_model(model, tmp_path / "model")


def change(folder, **fields):
    """Changes settings as someone would who knows of the seal."""
    path = folder / SETTINGS_FILE
    path.write_text(json.dumps(sealed({**json.loads(path.read_text()), **fields})))


def test_it_answers_the_same_in_a_fresh_process(model, saved, photos):
    here = [answer.scores for answer in vk.classify(photos, model=model)]
    code = (
        "import sys, json, visionkit as vk\n"
        "answers = vk.classify(sys.argv[2:], model=sys.argv[1], speed='exact')\n"
        "print(json.dumps([a.scores for a in answers]))"
    )
    command = [sys.executable, "-c", code, str(saved), *map(str, photos)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == here


def test_what_the_folder_holds(saved):
    settings = json.loads((saved / SETTINGS_FILE).read_text())
    assert settings["format_version"] == 1
    assert settings["labels"] == ["cat", "dog", "naïve 'quoted'"]
    assert settings["architecture"]["model"] == "visionkit:simple_cnn"
    assert vk.Preprocess.from_dict(settings["preprocess"]) == SMALL
    assert settings["parity"]["inputs"] == 4
    assert settings["parity"]["max_difference"] <= 1e-6
    assert sorted(path.name for path in saved.iterdir()) == sorted(
        [CARD_FILE, WEIGHTS_FILE, ANSWERS_FILE, SETTINGS_FILE]
    )
    assert os.listdir(saved.parent) == ["model"]


@pytest.mark.parametrize("name", ["visionkit:efficientnet_lite0", "torchvision:resnet18", "timm:test_vit"])
def test_other_kinds(name, tmp_path, cat):
    model = vk.load_model(name, speed="exact", **({} if name.startswith("visionkit") else {"pretrained": False}))
    folder = vk.save_model(model, tmp_path / "saved")
    again = vk.load_model(folder, speed="exact")
    assert again.name == str(folder)
    assert again.labels == model.labels
    assert vk.classify(cat, model=again).scores == vk.classify(cat, model=model).scores
    assert (vk.embed(cat, model=again).vectors == vk.embed(cat, model=model).vectors).all()


def test_a_module_of_ones_own_is_given_again(tmp_path, cat):
    own = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    model = vk.wrap_model(own, preprocess=SMALL, labels=["a", "b"], name="own")
    folder = vk.save_model(model, tmp_path / "own")
    with pytest.raises(
        ModelLoadError, match=r"a module of your own \(own\), whose code it cannot hold: give the module"
    ):
        vk.load_model(folder)
    fresh = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    again = vk.load_model(folder, module=fresh)
    assert vk.classify(cat, model=again).scores == vk.classify(cat, model=model).scores


def test_an_older_model_is_replaced(model, saved, cat):
    with torch.no_grad():
        model.module.head.bias += torch.tensor([50.0, 0.0, 0.0])
    assert vk.save_model(model, saved) == saved
    assert vk.classify(cat, model=vk.load_model(saved)).score == pytest.approx(1.0)
    assert os.listdir(saved.parent) == ["model"]


def test_what_is_there_is_not_overwritten(model, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love.txt").write_text("…")
    with pytest.raises(InputError, match="there is something else; give a new folder"):
        vk.save_model(model, tmp_path / "letters")
    assert (tmp_path / "letters" / "love.txt").exists()


def test_a_model_without_a_module_cannot_be_saved(tmp_path):
    with pytest.raises(CapabilityError, match="fake:classifier cannot be saved: it has no module, preprocess and"):
        vk.save_model(FakeClassifier(["a", "b"]), tmp_path / "x")


def test_a_failed_save_leaves_the_old_model(model, saved, monkeypatch):
    before = (saved / WEIGHTS_FILE).read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        vk.save_model(model, saved)
    assert (saved / WEIGHTS_FILE).read_bytes() == before
    assert os.listdir(saved.parent) == ["model"]


def test_changed_weights_are_refused(saved):
    data = bytearray((saved / WEIGHTS_FILE).read_bytes())
    data[-1] ^= 1
    (saved / WEIGHTS_FILE).write_bytes(data)
    with pytest.raises(ModelLoadError, match="is not the file that was saved"):
        vk.load_model(saved)
    (saved / WEIGHTS_FILE).unlink()
    with pytest.raises(ModelLoadError, match="is missing or is not the file"):
        vk.load_model(saved)


def test_folders_that_are_none(tmp_path, saved):
    with pytest.raises(ModelNotFoundError, match=r"is no saved model: it has no visionkit\.json"):
        vk.load_model(tmp_path)
    path = saved / SETTINGS_FILE
    whole = path.read_text()
    path.write_text(whole[:100])
    with pytest.raises(ModelLoadError, match="is no valid JSON"):
        vk.load_model(saved)
    path.write_text("[" * 100_000)
    with pytest.raises(ModelLoadError, match="is no valid JSON"):
        vk.load_model(saved)
    path.write_text("{}")
    with pytest.raises(ModelLoadError, match="is none of visionkit's"):
        vk.load_model(saved)
    path.write_text(" " * (MAX_SETTINGS_BYTES + 1))
    with pytest.raises(ModelLoadError, match="is larger than any that visionkit writes"):
        vk.load_model(saved)
    path.write_text('{"format_version": 1}')
    with pytest.raises(ModelLoadError, match="lacks architecture, labels, preprocess, settings_sha256, weights_sha"):
        vk.load_model(saved)
    path.write_text(whole)
    change(saved, format_version=2)
    with pytest.raises(ModelLoadError, match="has format 2, this visionkit reads up to 1: upgrade it"):
        vk.load_model(saved)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({"model": "nothing"}, "is malformed"),
        ({"model": 3, "options": {}}, "is malformed"),
        ({"model": "openai:gpt", "options": {}}, "is none that a saved model may name"),
        ({"model": "nowhere:x", "options": {}}, "is none that a saved model may name"),
        ({"model": "torchvision:resnet18", "options": {"pretrained": True}}, "is none that a saved model may name"),
        ({"model": "torchvision:resnet18", "options": {}}, "is none that a saved model may name"),
        ({"model": "transformers:hustvl/yolos-tiny", "options": {}}, "is none that a saved model may name"),
        ({"model": "diffusers:a/b", "options": {}}, "is none that a saved model may name"),
        ({"model": "timm:/etc", "options": {"pretrained": False}}, "is none that a saved model may name"),
        ({"model": "transformers:~/x", "options": {"pretrained": False}}, "is none that a saved model may name"),
        ({"model": "open_clip:../x", "options": {"pretrained": False}}, "is none that a saved model may name"),
        ({"model": "visionkit:simple_cnn", "options": {"pretrained": False, "device": "cpu"}}, "is malformed"),
        ({"model": "visionkit:simple_cnn", "options": {"pretrained": False, "colour": 1}}, "cannot be built"),
        ({"model": "visionkit:simple_cnn", "options": {"pretrained": False, "num_classes": "x"}}, "cannot be built"),
        ({"model": "visionkit:simple_cnn", "options": {"pretrained": False, "num_classes": 10**10}}, "cannot be built"),
        # would fetch the configuration, or the whole repository
        ({"model": "transformers:owner/name", "options": {"pretrained": False}}, "is none that a saved model may name"),
        ({"model": "open_clip:name", "options": {"pretrained": False}}, "is none that a saved model may name"),
        ({"model": "visionkit:alexnet", "options": {"pretrained": False, "width": 1e308}}, "cannot be built"),
        ({"model": "head:linear", "options": {}}, "cannot be built"),
        ({"model": "wrapped:module", "options": {}}, "cannot be built"),
        (
            {
                "model": "head:linear",
                "options": {
                    "embedder": {"model": "timm:resnet18", "options": {}},
                    "in_features": 512,
                    "num_classes": 3,
                },
            },
            "is none that a saved model may name",
        ),
        (
            {"model": "visionkit:simple_cnn", "options": {"pretrained": False, "num_classes": 4}},
            "the weights do not fit the architecture",
        ),
    ],
)
def test_architectures_that_are_refused(saved, architecture, message):
    change(saved, architecture=architecture)
    with pytest.raises(ModelLoadError, match=message):
        vk.load_model(saved)


@pytest.mark.parametrize("key", ["checkpoint_path", "cache_dir", "pretrained_cfg"])
def test_an_architecture_that_leads_to_other_files_is_refused(saved, tmp_path, key):
    secret = tmp_path / "secret.pt"
    torch.save({"not": torch.zeros(3)}, secret)
    options = {"pretrained": False, "num_classes": 3, "model_args": {key: str(secret)}}
    change(saved, architecture={"model": "timm:test_resnet", "options": options})
    with pytest.raises(ModelLoadError, match=f"model_args has '{key}', which says nothing of the network itself"):
        vk.load_model(saved)


def test_labels_of_what_has_none_are_refused(tmp_path):
    model = vk.load_model("timm:test_resnet", pretrained=False, num_classes=0, device="cpu")
    saved = vk.save_model(model, tmp_path / "model")
    change(saved, labels=["cat"])
    with pytest.raises(ModelLoadError, match="1 labels for a network of 0 classes"):
        vk.load_model(saved)


def test_a_number_beyond_all_is_none(saved):
    path = saved / SETTINGS_FILE
    path.write_text(path.read_text().replace('"temperature": 1.0', '"temperature": 1e999'))
    with pytest.raises(ModelLoadError, match="is no valid JSON"):
        vk.load_model(saved)


def test_changed_labels_are_refused(saved):
    change(saved, labels=["cat", "cat", "dog"])
    with pytest.raises(ModelLoadError, match="label 'cat' is given twice"):
        vk.load_model(saved)


def test_preprocess_that_is_none(saved):
    change(saved, preprocess={"size": 3})
    with pytest.raises(ModelLoadError, match="this is no Preprocess"):
        vk.load_model(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": []}, "architecture is of another type"),
        ({"preprocess": None}, "preprocess is of another type"),
        ({"labels": {"cat": 1}}, "labels is of another type"),
        ({"labels": ["cat"]}, "1 labels for a network of 3"),
        ({"labels": None}, "0 labels for a network of 3"),
    ],
)
def test_settings_of_other_types_are_refused(saved, changes, message):
    change(saved, **changes)
    with pytest.raises(ModelLoadError, match=message):
        vk.load_model(saved)


@pytest.mark.parametrize("kind", ["model", "training", "neither"])
def test_a_folder_with_files_of_the_users_is_never_replaced(tmp_path, kind):
    model = vk.load_model("visionkit:simple_cnn", num_classes=3)
    folder = tmp_path / "mine"
    folder.mkdir()
    if kind == "model":
        vk.save_model(model, folder, extra_files={"notes.md": "ours"})
        vk.save_model(model, folder)
    elif kind == "training":
        (folder / "checkpoint").mkdir()
        (folder / "checkpoint" / "state.json").write_text("{}")
    (folder / "photo.txt").write_text("precious")
    before = sorted(p.name for p in folder.iterdir())
    with pytest.raises(InputError, match="there is something else"):
        vk.save_model(model, folder)
    assert sorted(p.name for p in folder.iterdir()) == before
    assert (folder / "photo.txt").read_text() == "precious"
