"""torchvision's and timm's models behind the common verbs, held against the libraries themselves."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torchvision.models import ResNet18_Weights, get_model

import visionkit as vk
from visionkit.cnn.imagenet import imagenet_labels
from visionkit.errors import InputError, ModelLoadError, ModelNotFoundError


def probabilities(answer):
    return torch.tensor([answer.scores[label] for label in imagenet_labels()])


def test_torchvision_from_files(photos):
    model = vk.load_model("torchvision:resnet18", pretrained=False, speed="exact", device="cpu")
    reference = get_model("resnet18").eval()
    reference.load_state_dict(model.module.state_dict())
    transform = ResNet18_Weights.IMAGENET1K_V1.transforms()
    for path, answer in zip(photos, vk.classify(photos, model=model), strict=True):
        with torch.inference_mode(), Image.open(path) as picture:
            theirs = reference(transform(picture)[None]).softmax(1)[0]
        assert (probabilities(answer) - theirs).abs().max() < 5e-3


def test_torchvision_features_enter_the_last_linear_layer(cat):
    model = vk.load_model("torchvision:resnet18", pretrained=False, speed="exact", device="cpu")
    vector = vk.embed(cat, model=model).vectors[0]
    assert vector.shape == (512,)
    with torch.inference_mode():
        body = torch.nn.Sequential(*list(model.module.children())[:-1])
        pixels = next(vk.Batches([cat], model.preprocess, device="cpu", speed="exact")).pixels
        theirs = body(pixels).flatten(1)[0].numpy()
    assert vector @ theirs / np.linalg.norm(theirs) == pytest.approx(1.0, abs=1e-6)


def test_torchvision_errors(monkeypatch, tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"no classifier 'resnet51'; did you mean .*torchvision:resnet50"):
        vk.load_model("torchvision:resnet51")
    with pytest.raises(InputError, match="have 1,000 classes, not 3"):
        vk.load_model("torchvision:resnet18", num_classes=3)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("VISIONKIT_OFFLINE", "1")
    with pytest.raises(ModelNotFoundError, match=r"VISIONKIT_OFFLINE forbids to fetch it \(45 MB\) from .*resnet18"):
        vk.load_model("torchvision:resnet18")


@pytest.fixture(scope="module")
def timm_folder(tmp_path_factory):
    """A small model of timm saved in the layout of its hub."""
    folder = tmp_path_factory.mktemp("timm")
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", pretrained=False, num_classes=3)
    names = {"label_names": ["ant", "bee", "cow"], "num_classes": 3}
    timm.models.save_for_hf(model, str(folder), model_config=names, safe_serialization=True)
    return folder, model.eval()


def test_timm_folder(timm_folder, photos):
    folder, reference = timm_folder
    model = vk.load_model(f"timm:{folder}", speed="exact", device="cpu")
    assert model.labels == ("ant", "bee", "cow")
    transform = create_transform(**resolve_model_data_config(reference))
    embeddings = vk.embed(photos, model=model)
    for i, (path, answer) in enumerate(zip(photos, vk.classify(photos, model=model), strict=True)):
        with torch.inference_mode(), Image.open(path) as picture:
            pixels = transform(picture)[None]
            theirs = reference(pixels).softmax(1)[0]
            features = reference.forward_head(reference.forward_features(pixels), pre_logits=True)[0].numpy()
        mine = torch.tensor([answer.scores[label] for label in model.labels])
        assert (mine - theirs).abs().max() < 5e-3
        assert embeddings.vectors[i] @ features / np.linalg.norm(features) > 0.999


def test_timm_by_name_without_weights():
    model = vk.load_model("timm:test_vit", pretrained=False, num_classes=7)
    assert len(model.labels) == 7
    headless = vk.load_model("timm:test_vit", pretrained=False, num_classes=0)
    assert not hasattr(headless, "labels")


def test_timm_errors(tmp_path, timm_folder, monkeypatch):
    with pytest.raises(ModelNotFoundError, match=r"timm has no model 'resnet5x', nor is it a folder; did you mean"):
        vk.load_model("timm:resnet5x")
    with pytest.raises(ModelNotFoundError, match=r"no weights 'resnet50.nope'; it has: .*resnet50\.a1_in1k"):
        vk.load_model("timm:resnet50.nope")
    with pytest.raises(InputError, match="num_classes= goes with pretrained=False"):
        vk.load_model("timm:resnet18", num_classes=3)
    with pytest.raises(ModelLoadError, match=r"has no config\.json"):
        vk.load_model(f"timm:{tmp_path}")
    monkeypatch.setenv("VISIONKIT_OFFLINE", "1")
    with pytest.raises(
        ModelNotFoundError, match=r"Hugging Face, repository timm/resnet50\.a1_in1k; fetch it ahead: hf download"
    ):
        vk.load_model("timm:resnet50.a1_in1k")


def test_timm_damaged_weights(tmp_path, timm_folder):
    folder, _ = timm_folder
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ModelLoadError, match="timm cannot load"):
        vk.load_model(f"timm:{tmp_path}")


@pytest.mark.parametrize(
    "change",
    [{"crop_mode": "border"}, {"input_size": [1, 64, 64]}, {"input_size": [3, 64, 96]}, {"crop_mode": "squash"}],
)
def test_timm_transforms_that_we_do_not_do(tmp_path, timm_folder, change):
    folder, _ = timm_folder
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"].update({"crop_pct": 0.9, **change})
    if change.get("input_size", [3])[0] == 1:
        config["model_args"] = {"in_chans": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelLoadError, match="which visionkit does not do"):
        vk.load_model(f"timm:{tmp_path}", pretrained=False)


def test_a_folder_takes_the_place_of_no_network(tmp_path, monkeypatch):
    """Else a saved model of timm could not be loaded where a folder happens to be called like its architecture."""
    saved = vk.save_model(vk.load_model("timm:test_resnet", pretrained=False, device="cpu"), tmp_path / "saved")
    (tmp_path / "test_resnet").mkdir()
    monkeypatch.chdir(tmp_path)
    assert vk.load_model(saved).module.num_classes == 1000
    with pytest.raises(ModelLoadError, match=r"\./test_resnet has no config\.json"):
        vk.load_model("timm:./test_resnet")


def test_a_folder_that_was_written_again_is_loaded_again(timm_folder, tmp_path, monkeypatch):
    """A verb keeps what it loaded for a name; the name may mean other files by now."""
    vk.clear_models()
    own = Path(shutil.copytree(timm_folder[0], tmp_path / "here" / "net"))
    (own / "part").mkdir()
    (own / "part" / "weights").write_bytes(b"1")
    (own / "linked").symlink_to(tmp_path / "nowhere")  # as an interrupted download leaves them
    monkeypatch.chdir(own.parent)
    load = partial(vk.models.load_cached, "timm:./net", task="embed", device="cpu")
    before = load()
    assert load() is before
    (own / "part" / "weights").write_bytes(b"12")
    first = load()
    assert first is not before
    assert load() is first
    weights = own / "model.safetensors"
    weights.write_bytes(weights.read_bytes())
    second = load()
    assert second is not first
    shutil.copytree(own, tmp_path / "there" / "net", symlinks=True)
    monkeypatch.chdir(tmp_path / "there")
    assert load() is not second
    vk.clear_models()
