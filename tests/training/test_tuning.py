"""Fine-tuning beyond the head: what is trained, what stays, and that it is saved as it is."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
from torch import nn

import visionkit as vk
from visionkit.cnn import SimpleCNN
from visionkit.errors import CapabilityError, InputError, TrainingError
from visionkit.training import Recipe, keeper
from visionkit.training.blocks import blocks_of


@pytest.fixture(scope="module")
def faces():
    """25×25 grey pictures of faces and of anything else."""
    pictures = (skimage.data.lfw_subset() * 255).round().astype(np.uint8)
    return [(picture, "face" if i < 100 else "no face") for i, picture in enumerate(pictures)]


class Own(nn.Module):
    """A module of one's own with a stack of blocks, statistics, dropout, and a former head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 5, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(*(SimpleBlock() for _ in range(3)))
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(32, 5)

    def forward(self, pixels):
        return self.head(self.pool(self.norm(self.body(self.stem(pixels)))))


class SimpleBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1))

    def forward(self, maps):
        return maps + self.layers(maps)


def own_model(features=None):
    torch.manual_seed(0)
    labels = None if features == "" else list("abcde")
    return vk.wrap_model(Own(), preprocess=vk.Preprocess(size_wh=(25, 25)), labels=labels, features=features)


def tuned(faces, train, *, model=None, **options):
    """The run, and the names of the backbone's tensors that it changed."""
    model = model or own_model()
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    run = vk.fine_tune(faces[80:120], model=model, train=train, **{"epochs": 2, "batch_size": 8, **options})
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items()), "copied, it says"
    after = run.model.embedder.module.state_dict()
    assert list(after) == list(before)
    assert all(p.requires_grad for p in run.model.module.parameters())
    return run, {name for name in before if not torch.equal(before[name], after[name])}


def test_all(faces, tmp_path):
    run, changed = tuned(faces, "all", out=tmp_path / "run")
    everything = set(own_model().module.state_dict())
    former_head = {"head.weight", "head.bias"}
    statistics = {name for name in everything if "running" in name or "num_batches" in name}
    assert statistics
    assert changed == everything - former_head - statistics
    again = vk.load_model(tmp_path / "run", module=Own())
    picture = faces[0][0]
    assert vk.classify(picture, model=again).scores == vk.classify(picture, model=run.model).scores
    assert vk.verify(tmp_path / "run", module=Own()).passed
    with pytest.raises(TrainingError, match="was trained with other settings"):
        tuned(faces, "last:1", out=tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("count", "parts"),
    [(1, ("body.2.", "norm.")), (2, ("body.1.", "body.2.", "norm.")), (4, ("stem.", "body.", "norm."))],
)
def test_the_last_blocks(faces, count, parts):
    """The statistics of batch normalisation stay, in the blocks that are trained too."""
    _, changed = tuned(faces, f"last:{count}")
    names = {n for n in own_model().module.state_dict() if n.startswith(parts) and n.endswith(("weight", "bias"))}
    assert changed == names


def test_lora_is_merged(faces, tmp_path):
    run, changed = tuned(faces, "lora", out=tmp_path / "run")
    assert changed == {"stem.0.weight", *(f"body.{i}.layers.0.weight" for i in range(3))}
    for name in changed:
        change = (run.model.embedder.module.state_dict()[name] - own_model().module.state_dict()[name]).flatten(1)
        assert torch.linalg.matrix_rank(change) <= 8
    assert not [m for m in run.model.module.modules() if "lora" in type(m).__module__]
    assert vk.verify(tmp_path / "run", module=Own()).passed


@pytest.mark.parametrize("train", ["all", "last:2", "lora"])
def test_it_goes_on_to_the_same_weights(faces, tmp_path, monkeypatch, train):
    recipe = Recipe(ema=0.9)
    expected, _ = tuned(faces, train, recipe=recipe, augment="light")
    monkeypatch.setattr(keeper, "KEEP_EVERY_SECONDS", 0.0)
    see, seen = keeper.Keeper.see, [0]

    def counted(self, *args, **options):
        seen[0] += 1
        if seen[0] == 5:
            raise KeyboardInterrupt
        see(self, *args, **options)

    monkeypatch.setattr(keeper.Keeper, "see", counted)
    with pytest.raises(KeyboardInterrupt, match="go on with resume=True"):
        tuned(faces, train, recipe=recipe, augment="light", out=tmp_path / "run")
    run, _ = tuned(faces, train, recipe=recipe, augment="light", out=tmp_path / "run", resume=True)
    one, other = run.model.module.state_dict(), expected.model.module.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert [r.loss for r in run.history] == [r.loss for r in expected.history]


@pytest.mark.slow
@pytest.mark.parametrize("train", ["all", "last:2", "lora"])
def test_it_learns(faces, train):
    """From a hundred pictures, and not undone what the head alone knew."""
    learn, check = faces[:50] + faces[100:150], faces[50:100] + faces[150:]
    run = vk.fine_tune(learn, validation=check, train=train, epochs=3)
    print(f"{train}: {run.metrics['accuracy']:.1%}, {run.history[-1].seconds:.1f} s an epoch")
    assert run.metrics["accuracy"] >= 0.97
    assert run.history[-1].loss < run.history[0].loss


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_resnet", "torchvision:resnet18"])
@pytest.mark.parametrize("train", ["all", "last:1", "lora"])
def test_networks_by_name(faces, tmp_path, name, train):
    model = vk.load_model(name, pretrained=False)
    _, changed = tuned(faces, train, model=model, epochs=1, out=tmp_path / "run")
    assert changed
    assert vk.verify(tmp_path / "run").passed


def test_blocks():
    from visionkit.cnn.lite import EfficientNetLite0

    assert [b.name for b in blocks_of(SimpleCNN())] == ["features.0", "features.3", "features.6", "head"]
    lite = [b.name for b in blocks_of(EfficientNetLite0())]
    assert lite == ["stem.0", *(f"blocks.{i}" for i in range(16)), "top.0", "head"]
    torchvision = pytest.importorskip("torchvision")
    resnet = blocks_of(torchvision.models.resnet18(weights=None))
    assert [b.name for b in resnet[:2]] == ["conv1", "layer1.0"]
    assert len(resnet[0].modules) == 2  # its normalisation too
    assert len(resnet) == 10
    vit = blocks_of(torchvision.models.VisionTransformer(32, 16, 3, 2, 8, 16))
    assert [b.name for b in vit] == [
        "conv_proj",
        *(f"encoder.layers.encoder_layer_{i}" for i in range(3)),
        "heads.head",
    ]
    assert [type(m).__name__ for m in vit[-2].modules] == ["EncoderBlock", "LayerNorm"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"train": "last:0"}, InputError, "train='last:0' is not offered; choose 'head', 'all', 'lora', or 'last:N'"),
        ({"train": 3}, InputError, "train=3 is not offered"),
        ({"train": "last:9"}, InputError, "train='last:9': Own has 4 blocks"),
        ({"train": "all", "model": "colors:mean"}, CapabilityError, "colors:mean has no module to train"),
        ({"train": "all", "epochs": 0}, InputError, "epochs=0 and batch_size=32 must be at least 1"),
        ({"train": "all", "augment": "wild"}, InputError, "augment='wild' is no policy"),
    ],
)
def test_bad_input(faces, options, error, message):
    with pytest.raises(error, match=message):
        vk.fine_tune(faces[90:110], **{"model": own_model(), **options})


def test_lora_without_layers_for_it(faces):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, pixels):
            return pixels.mean((2, 3)) * self.scale

    model = vk.wrap_model(Scaled(), preprocess=vk.Preprocess(size_wh=(25, 25)))
    with pytest.raises(CapabilityError, match="Scaled has no linear layer or plain convolution for LoRA"):
        vk.fine_tune(faces[90:110], model=model, train="lora")
