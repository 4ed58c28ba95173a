"""Filters, activations and patches: drawn from what the network really is and gives."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch import nn

import visionkit as vk
from visionkit.cnn import SimpleCNN
from visionkit.cnn.looking import Opened
from visionkit.cnn.patches import receptive_field
from visionkit.errors import CapabilityError, InputError
from visionkit.images import heat_picture
from visionkit.testing import FakeClassifier

SMALL = vk.Preprocess(size_wh=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)


def simple():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SimpleCNN(3)


def wrapped(module, preprocess=SMALL):
    return vk.wrap_model(module, preprocess=preprocess, labels=["a", "b", "c"], device="cpu")


def test_filters_are_the_weights():
    network = simple()
    with torch.no_grad():
        network.features[0].weight.zero_()
        network.features[0].weight[1, 0] = 2.0  # red alone
    grid = vk.show_filters(wrapped(network))
    assert grid.source == "layer features.0"
    assert grid.rows == ("features.0: filters 0-15 of 32", "features.0: filters 16-31 of 32")
    pixels = np.array(grid.image)
    colors, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    found = {tuple(color): count for color, count in zip(colors.tolist(), counts.tolist(), strict=True)}
    assert found[255, 128, 128] == 48 * 48
    assert found[128, 128, 128] == 31 * 48 * 48


def test_later_filters_are_a_row_each():
    grid = vk.show_filters(wrapped(simple()), "features.3")
    assert len(grid.rows) == 16
    assert grid.rows[5] == "features.3: filter 5 of 64, over 16 of 32 channels"


def test_activations_are_what_the_layers_give():
    model = wrapped(simple())
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    grid = vk.show_activations(picture, model=model, layers=["features.7", "features.1"])
    assert grid.rows == ("features.7", "features.1")
    pixels = next(vk.Batches([picture], SMALL, device="cpu", speed="exact")).pixels
    with torch.no_grad():
        values = model.module.features[:2](pixels)[0]
    strongest = values[values.amax((1, 2)).argmax()]
    wanted = np.array(heat_picture((strongest / strongest.max()).numpy())).repeat(3, 0).repeat(3, 1)
    drawn = np.array(grid.image)
    bottom = drawn.shape[0] - 4 - 96
    np.testing.assert_array_equal(drawn[bottom : bottom + 96, 4:100], wanted)


def test_layers_from_early_to_late_and_of_a_transformer(cat):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit = vk.load_model("timm:test_vit", pretrained=False, device="cpu")
    assert vk.show_activations(cat, model=wrapped(simple())).rows[-1] == "features.7"
    assert vk.show_activations(cat, model=vit, layers=["blocks.0.norm1", "norm"]).rows == ("blocks.0.norm1", "norm")
    rows = vk.show_activations(cat).rows
    assert len(rows) == 4
    assert rows[-1] == "top"


@pytest.mark.parametrize(("layer", "side"), [("features.0", 3), ("features.4", 8), ("features.6", 18)])
def test_a_receptive_field_is_what_arithmetic_says(layer, side):
    opened = Opened(wrapped(simple()))
    chosen = opened.layer(layer)
    row = column = chosen.grid_hw[0] // 2
    left, top, right, bottom = receptive_field(opened, chosen, (row, column))
    assert (right - left, bottom - top) == (side, side)
    stride = 32 // chosen.grid_hw[0]
    assert left <= column * stride < right
    assert receptive_field(opened, chosen, (0, 0))[:2] == (0, 0)


def test_the_patch_that_excites_a_channel_is_found():
    network = nn.Sequential(nn.Conv2d(3, 2, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].weight[1] = torch.tensor([1.0, -1.0, -1.0])[:, None, None]  # red squares
        network[0].bias.zero_()
    model = wrapped(network)
    pictures = [np.zeros((64, 64, 3), np.uint8) for _ in range(3)]
    pictures[1][20:30, 40:50] = (200, 0, 0)
    pictures[2][4:14, 6:16] = (255, 0, 0)
    found = vk.top_patches(model, "1", 1, iter([pictures[0], b"no picture", *pictures[1:]]), count=2)
    assert [patch.box_xyxy for patch in found.patches] == [(6, 4, 16, 14), (40, 20, 50, 30)]
    assert found.patches[0].activation > found.patches[1].activation
    assert found.image.getpixel((50, 60)) == (255, 0, 0)
    assert len(vk.top_patches(model, "1", 1, pictures, count=9).patches) == 3


def test_refusals(cat, tmp_path):
    model = wrapped(simple())
    for act, message in (
        (
            lambda: vk.show_filters(model, "features.1"),
            "layer 'features.1' of SimpleCNN is no convolution; did you mean",
        ),
        (lambda: vk.show_filters(wrapped(nn.Flatten())), "Flatten has no convolution"),
        (lambda: vk.show_activations(cat, model=model, layers="top"), "layers='top' must be a list"),
        (lambda: vk.show_activations(cat, model=model, layers=[]), r"layers=\[\] must be a list"),
        (lambda: vk.show_activations(cat, model=model, layers=["featurs.1"]), "did you mean 'features.1'"),
        (lambda: vk.top_patches(model, "features.1", 32, [cat]), "channel=32 must be a whole number from 0 to 31"),
        (lambda: vk.top_patches(model, "features.1", 0.5, [cat]), "channel=0.5 must be"),
        (lambda: vk.top_patches(model, "features.1", 0, cat), "data must be several pictures"),
        (
            lambda: vk.top_patches(model, "features.1", 0, [cat], count=0),
            "count=0 must be a whole number of at least 1",
        ),
        (
            lambda: vk.top_patches(model, "features.1", 0, [tmp_path / "x.png"]),
            "at least one picture that can be loaded",
        ),
    ):
        with pytest.raises(InputError, match=message):
            act()
    for act in (vk.show_filters, lambda m: vk.show_activations(cat, model=m), lambda m: vk.top_patches(m, "x", 0, [])):
        with pytest.raises(CapabilityError, match="fake:classifier cannot be looked into"):
            act(FakeClassifier(["a"]))


def test_open_files_are_read_again_from_where_they_stood(tmp_path):
    model = wrapped(simple())
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path, picture in zip(paths, pictures, strict=True):
        vk.load_image(picture).save(path)
    late = io.BytesIO(b"before" + paths[1].read_bytes())
    late.seek(6)
    with paths[0].open("rb") as file:
        found = vk.top_patches(model, "features.1", 0, [file, late])
    expected = vk.top_patches(model, "features.1", 0, paths)
    np.testing.assert_array_equal(found.image, expected.image)
    assert {patch.source for patch in found.patches} == {str(paths[0]), "<file object>"}

    class Stream:
        def read(self, size=-1):
            return b""

    with pytest.raises(InputError, match="<file object> cannot be read twice, which this takes: give its bytes"):
        vk.top_patches(model, "features.1", 0, [paths[0], Stream()])


def test_what_is_no_number_is_never_the_most():
    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 1, 1)
            self.head = nn.Linear(1, 3)

        def forward(self, pixels):
            lit = pixels.mean((1, 2, 3)) > -0.9
            return self.head(self.conv(torch.where(lit[:, None, None, None], pixels, float("nan"))).mean((2, 3)))

    network = Blind()
    nn.init.ones_(network.conv.weight)
    dark, *light = (np.full((32, 32, 3), level, np.uint8) for level in (0, 90, 200, 150))
    found = vk.top_patches(wrapped(network), "conv", 0, [light[0], dark, *light[1:], dark], count=2)
    activations = [patch.activation for patch in found.patches]
    assert len(activations) == 2
    assert activations[0] > activations[1] > 0
    with pytest.raises(InputError, match="gives the channel a number"):
        vk.top_patches(wrapped(network), "conv", 0, [dark])


def test_where_no_gradient_flows_a_place_sees_all():
    class Blocked(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)
            self.head = nn.Linear(2, 3)

        def forward(self, pixels):
            with torch.no_grad():
                return self.head(self.conv(pixels).mean((2, 3)))

    opened = Opened(wrapped(Blocked()))
    assert receptive_field(opened, opened.layer("conv"), (0, 0)) == (0, 0, 32, 32)
