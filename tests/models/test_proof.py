"""Saved folders prove themselves when they are written, and refuse what was changed after."""

from __future__ import annotations

import json
import os
import struct

import pytest
import torch
from safetensors.torch import load, load_file, save
from torch import nn
from typer.testing import CliRunner

import visionkit as vk
from visionkit.cli.app import app
from visionkit.cnn import SimpleCNN
from visionkit.errors import InputError, ModelLoadError, ModelNotFoundError, SaveError
from visionkit.models.answers import answers_of
from visionkit.models.folder import ANSWERS_FILE, CARD_FILE, SETTINGS_FILE, WEIGHTS_FILE, sealed
from visionkit.models.verify import verify
from visionkit.models.wrap import ModuleClassifier
from visionkit.pipeline import choose_device

SMALL = vk.Preprocess(size_wh=(16, 16), resize="squash", mean=(0.4, 0.5, 0.6))


def classifier(network=None, *, labels=("cat", "dog", "cow"), speed="default", built_by=None):
    torch.manual_seed(0)
    network = network or SimpleCNN(len(labels))
    return ModuleClassifier(
        network,
        labels=labels,
        name="mine",
        preprocess=SMALL,
        features=None,
        device=choose_device("cpu"),
        speed=speed,
        built_by=built_by or network.architecture(),
    )


@pytest.fixture
def saved(tmp_path):
    return vk.save_model(classifier(), tmp_path / "model")


def edit(folder, change, *, seal=False):
    path = folder / SETTINGS_FILE
    settings = json.loads(path.read_text())
    change(settings)
    path.write_text(json.dumps(sealed(settings) if seal else settings))


def test_a_saved_model_is_verified(saved):
    report = verify(saved)
    assert report.passed
    assert report.inputs == 4
    assert report.max_difference <= 1e-6
    assert report.tolerance == 1e-4
    assert report.folder == str(saved)
    assert type(report).model_validate_json(report.model_dump_json()) == report


def test_the_answers_are_those_of_the_pictures(saved):
    recorded = load_file(saved / ANSWERS_FILE)
    assert recorded["scores"].shape == (4, 3)
    assert torch.allclose(recorded["scores"].sum(1), torch.ones(4))
    assert torch.allclose(recorded["features"].norm(dim=1), torch.ones(4))
    assert (recorded["features"].std(0) > 1e-4).any(), "the pictures differ, and so must the answers"


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["labels"].reverse(),
        lambda s: s["preprocess"].update(mean=[0.5, 0.5, 0.5]),
        lambda s: s["preprocess"].update(interpolation="bilinear"),
        lambda s: s["architecture"]["options"].update(activation="sigmoid"),
        lambda s: s.update(training={"accuracy": 1.0}),
    ],
    ids=["labels", "mean", "interpolation", "architecture", "training"],
)
def test_changed_settings_are_refused(saved, change):
    edit(saved, change)
    with pytest.raises(ModelLoadError, match="was changed after the model was saved"):
        vk.load_model(saved)
    with pytest.raises(ModelLoadError, match="was changed after the model was saved"):
        verify(saved)


def test_another_answer_is_reported_not_raised(saved):
    edit(saved, lambda s: s["preprocess"].update(mean=[0.1, 0.9, 0.1]), seal=True)
    report = verify(saved)
    assert not report.passed
    assert report.max_difference > 1e-3
    assert "NOT the answers of when it was saved, for 4 pictures" in str(report)
    assert verify(saved, tolerance=2.0).passed


def test_changed_answers_are_refused(saved):
    data = bytearray((saved / ANSWERS_FILE).read_bytes())
    data[-1] ^= 1
    (saved / ANSWERS_FILE).write_bytes(data)
    with pytest.raises(ModelLoadError, match=r"parity\.safetensors is not the file that was saved"):
        verify(saved)
    edit(saved, lambda s: s.pop("parity"), seal=True)
    with pytest.raises(ModelLoadError, match="holds no answers to compare with"):
        verify(saved)


def test_a_model_that_is_not_what_it_says_is_not_saved(tmp_path):
    old = vk.save_model(classifier(), tmp_path / "model")
    before = (old / WEIGHTS_FILE).read_bytes()
    sigmoid = SimpleCNN(3, activation="sigmoid")
    lying = classifier(sigmoid, built_by=SimpleCNN(3).architecture())
    with pytest.raises(SaveError, match=r"mine was not saved: loaded afresh from its files it answers otherwise, by"):
        vk.save_model(lying, old)
    with pytest.raises(SaveError, match=r"mine was not saved: what was written does not load: .*do not fit the arch"):
        vk.save_model(classifier(built_by=SimpleCNN(5).architecture()), old)
    assert (old / WEIGHTS_FILE).read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    model = classifier()
    with torch.no_grad():
        model.module.head.weight[0, 0] = float("nan")
    with pytest.raises(SaveError, match="or its answers are no numbers"):
        vk.save_model(model, tmp_path / "model")
    assert os.listdir(tmp_path) == []


class Forgetful(nn.Module):
    """Keeps a number beside its state dict."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.zeros(()), persistent=False)
        self.head = nn.Linear(3, 2)

    def forward(self, pixels):
        return self.head(pixels.mean((2, 3))) * self.scale


def test_a_module_of_ones_own_is_proven_with_an_empty_copy(tmp_path, cat):
    own = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    model = vk.wrap_model(own, preprocess=SMALL, labels=["a", "b"], name="own", device="cpu")
    model.module.train()
    mean = model.module[1].running_mean.clone()
    folder = vk.save_model(model, tmp_path / "own")
    assert model.module.training
    assert model.module[1].training
    assert torch.equal(model.module[1].running_mean, mean), "proving is not training"
    with pytest.raises(ModelLoadError, match="whose code it cannot hold: give the module"):
        verify(folder)
    fresh = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    assert verify(folder, module=fresh).passed


def test_a_head_over_ones_own_module_is_proven(tmp_path, photos):
    own = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = vk.wrap_model(own, preprocess=SMALL, name="own", device="cpu")
    data = [(path, name) for path, name in zip(photos * 4, ["a", "b", "a", "b"] * 4, strict=True)]
    vk.fine_tune(data, model=model, epochs=1, out=tmp_path / "head")
    assert verify(tmp_path / "head", module=own).passed


def test_speed_does_not_matter_to_the_proof(tmp_path, monkeypatch):
    monkeypatch.setattr("visionkit.pipeline.device.has_bfloat16", lambda: True)
    model = classifier(speed="fast")
    folder = vk.save_model(model, tmp_path / "model")
    assert verify(folder).max_difference <= 1e-6
    assert torch.equal(answers_of(model)["scores"], answers_of(vk.load_model(folder, speed="exact"))["scores"])


def test_links_pipes_and_giants_are_refused(saved, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (saved / WEIGHTS_FILE).rename(elsewhere)
    (saved / WEIGHTS_FILE).symlink_to(elsewhere)
    with pytest.raises(ModelLoadError, match="is a symbolic link, which a saved model never has"):
        vk.load_model(saved)
    (saved / WEIGHTS_FILE).unlink()
    os.mkfifo(saved / WEIGHTS_FILE)
    with pytest.raises(ModelLoadError, match="is no regular file"):
        vk.load_model(saved)
    (saved / WEIGHTS_FILE).unlink()
    with (saved / WEIGHTS_FILE).open("wb") as file:
        file.truncate(2**40)  # a terabyte of holes
    with pytest.raises(ModelLoadError, match="is larger than any that visionkit writes here"):
        vk.load_model(saved)
    (saved / WEIGHTS_FILE).unlink()
    elsewhere.rename(saved / WEIGHTS_FILE)
    assert vk.load_model(saved).labels == ("cat", "dog", "cow")
    (saved / SETTINGS_FILE).rename(elsewhere)
    (saved / SETTINGS_FILE).symlink_to(elsewhere)
    with pytest.raises(ModelLoadError, match="is a symbolic link"):
        vk.load_model(saved)


def put_weights(folder, data):
    from hashlib import sha256

    (folder / WEIGHTS_FILE).write_bytes(data)
    edit(folder, lambda s: s.update(weights_sha256=sha256(data).hexdigest()), seal=True)


def with_header(header, data):
    text = header.encode()
    return struct.pack("<Q", len(text)) + text + data


def test_weights_of_another_architecture_are_refused_before_they_are_made(saved):
    state = load((saved / WEIGHTS_FILE).read_bytes())  # not load_file: it maps the file that we overwrite
    size = sum(tensor.numel() * 4 for tensor in state.values())
    put_weights(saved, save({f"x{i}": torch.zeros(0) for i in range(30_000)}))  # 2 MB of names, no number
    with pytest.raises(ModelLoadError, match="larger than any that visionkit writes here"):
        vk.load_model(saved)
    cases = {
        "a name too many": save({**state, "../../etc/x": torch.zeros(0)}),
        "a name too few": save({k: v for k, v in state.items() if k != "head.bias"}),
        "another shape": save({**state, "head.weight": state["head.weight"].T.contiguous()}),
        "another type": save({**state, "head.bias": state["head.bias"].half()}),
        "cut": save(state)[:-4],
        "empty": b"",
        "a header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
        "a header that is none": with_header("[]", b""),
        "a key twice": with_header('{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{}}', b""),
    }
    for case, data in cases.items():
        assert len(data) < size + 10_000
        put_weights(saved, data)
        with pytest.raises(ModelLoadError, match=r"do not fit|damaged|no safetensors|no valid JSON") as caught:
            vk.load_model(saved)
        assert "model.safetensors" in str(caught.value), case
    put_weights(saved, save(state))
    assert verify(saved).passed


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"labels":', '"labels": ["cow", "dog", "cat"], "labels":', 1),
        lambda text: text.replace("0.4", "NaN", 1),
        lambda text: text.replace("0.4", "1" * 10_000, 1),
        lambda text: text + "\udcff",
    ],
    ids=["twice", "nan", "digits", "not utf-8"],
)
def test_json_that_is_not_strict_is_refused(saved, change):
    path = saved / SETTINGS_FILE
    path.write_bytes(change(path.read_text()).encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelLoadError, match="is no valid JSON"):
        vk.load_model(saved)


def test_the_card_says_nothing_that_a_label_made_it_say(tmp_path):
    labels = ["---\nlicense: mit", "```\n# Heading", "<script>alert(1)</script>", "a\u202eb\x1b[31m", "naïve"]
    model = classifier(labels=labels)
    model.name = "x`y\n# Other"
    card = (vk.save_model(model, tmp_path / "model") / CARD_FILE).read_text()
    assert card.isascii()
    assert card.isprintable() or set(card) - set(filter(str.isprintable, card)) == {"\n"}
    lines = card.splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "# A model saved by visionkit",
        "## Labels",
        "## Use",
    ]
    assert "---" not in lines
    assert sum(line.startswith("```") for line in lines) == 6
    assert '"na\\u00efve"' in lines


def test_a_long_list_of_labels_is_cut_in_the_card(tmp_path):
    labels = [f"class {i}" for i in range(60)]
    card = (vk.save_model(classifier(labels=labels), tmp_path / "model") / CARD_FILE).read_text()
    assert "## Labels, the first 50 of 60" in card
    assert "class 49" in card
    assert "class 50" not in card


@pytest.mark.parametrize("name", ["../x", "a/b", "visionkit.json", "README.md", ""])
def test_extra_files_have_names_of_their_own(tmp_path, name):
    with pytest.raises(InputError, match="give the name of a file that visionkit does not write itself"):
        vk.save_model(classifier(), tmp_path / "model", extra_files={name: "x"})


def test_a_link_to_a_folder_stays_a_link(saved, tmp_path):
    link = tmp_path / "latest"
    link.symlink_to(saved)
    other = classifier(labels=("x", "y", "z"))
    assert vk.save_model(other, link) == link
    assert link.is_symlink()
    assert vk.load_model(saved).labels == ("x", "y", "z")
    assert sorted(os.listdir(tmp_path)) == ["latest", "model"]


def test_the_command(saved, tmp_path):
    def run(folder):
        return CliRunner().invoke(app, ["verify", str(folder)])

    done = run(saved)
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{saved}: the same answers as when it was saved, for 4 pictures; largest diff")
    edit(saved, lambda s: s["preprocess"].update(mean=[0.1, 0.9, 0.1]), seal=True)
    done = run(saved)
    assert done.exit_code == 1
    assert "NOT the answers" in done.stdout
    edit(saved, lambda s: s["labels"].reverse())
    done = run(saved)
    assert done.exit_code == 1
    assert "was changed after the model was saved" in done.stderr
    assert run(tmp_path).exit_code == 2


def test_no_folder(tmp_path):
    with pytest.raises(ModelNotFoundError, match="is no saved model"):
        verify(tmp_path)
