"""`to_tensor` and `to_image`: there and back without losing a level."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from visionkit.errors import InputError, SourceError
from visionkit.pipeline import Batches, Preprocess, tensors, to_image, to_tensor

PIXELS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8), st.just(3)))
WAYS = [
    {},
    {"value_range": (-1.0, 1.0)},
    {"value_range": (0.0, 255.0)},
    {"value_range": (-3.0, 0.5)},
    {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    {"value_range": (0.0, 255.0), "mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)},
]


@settings(max_examples=60, deadline=None)
@given(PIXELS, st.sampled_from(WAYS))
def test_eight_bit_pixels_round_trip_exactly(pixels, way):
    back = to_image(to_tensor(pixels, **way), **way)
    assert back.mode == "RGB"
    assert np.array_equal(np.asarray(back), pixels)


@pytest.mark.parametrize("way", WAYS)
def test_every_level_of_every_channel_comes_back(way):
    levels = np.stack([np.arange(256), np.arange(256)[::-1], np.roll(np.arange(256), 7)], -1).astype(np.uint8)[None]
    assert np.array_equal(np.asarray(to_image(to_tensor(levels, **way), **way)), levels)


def test_every_level_survives_half_precision():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    truth = np.broadcast_to(levels[:, :, None], (16, 16, 3))
    assert np.array_equal(np.asarray(to_image(to_tensor(levels).half())), truth)


@pytest.mark.parametrize("way", WAYS)
def test_values_are_what_the_words_say(way):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    low, high = way.get("value_range", (0.0, 1.0))
    expected = pixels / 255.0 * (high - low) + low
    expected = (expected - way.get("mean", (0, 0, 0))) / way.get("std", (1, 1, 1))
    tensor = to_tensor(pixels, **way)
    assert (tensor.shape, tensor.dtype, tensor.device.type) == ((3, 5, 7), torch.float32, "cpu")
    assert tensor.is_contiguous()
    np.testing.assert_allclose(tensor.numpy(), expected.transpose(2, 0, 1), rtol=2e-6, atol=2e-6 * max(1, high - low))


def test_any_source_is_taken(tmp_path):
    image = Image.new("RGBA", (3, 2), (255, 0, 0, 0))
    image.save(tmp_path / "a.png")
    assert torch.equal(to_tensor(tmp_path / "a.png"), torch.ones(3, 2, 3))
    with pytest.raises(SourceError, match="no such file"):
        to_tensor(tmp_path / "b.png")


def test_back_clips_and_rounds_halves_apart():
    values = torch.tensor([-1.0, 0.0, 0.5 / 255 + 1e-4, 0.999, 1.0, 7.0]).expand(3, 1, 6)
    assert np.asarray(to_image(values))[0, :, 0].tolist() == [0, 0, 1, 255, 255, 255]


def test_one_channel_becomes_grey():
    assert to_image(torch.full((1, 1, 2), 0.2)).getpixel((1, 0)) == (51, 51, 51)


def test_a_graph_and_bfloat16_are_taken_back():
    assert to_image(torch.ones(3, 1, 1, requires_grad=True, dtype=torch.bfloat16)).getpixel((0, 0)) == (255,) * 3


def test_the_tensor_given_is_not_changed():
    values = torch.full((3, 2, 2), 0.3)
    to_image(values, mean=(0.1, 0.1, 0.1), std=(0.5, 0.5, 0.5))
    assert torch.equal(values, torch.full((3, 2, 2), 0.3))
    array = np.full((2, 2, 3), 7, np.uint8)
    to_tensor(array).zero_()
    assert (array == 7).all()


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(2, 3, 4, 4), "this is a batch of images, not one: give each of list(x)"),
        (torch.zeros(4, 4, 3), "the tensor must be (3, H, W) or (1, H, W), not (4, 4, 3)"),
        (torch.zeros(4, 4), "the tensor must be (3, H, W) or (1, H, W), not (4, 4)"),
        (torch.full((3, 2, 2), float("nan")), "the tensor has NaN or infinite values"),
        (torch.full((3, 2, 2), float("inf")), "the tensor has NaN or infinite values"),
    ],
)
def test_what_is_no_picture(tensor, message):
    with pytest.raises(InputError, match=re.escape(message)):
        to_image(tensor)


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ({"value_range": (1.0, 1.0)}, "value_range (1.0, 1.0) must go from a lower to a higher number"),
        ({"value_range": (1.0, 0.0)}, "must go from a lower to a higher number"),
        ({"value_range": (0.0, float("nan"))}, "must go from a lower to a higher number"),
        ({"mean": (0.5, 0.5, 0.5)}, "mean and std go together"),
        ({"std": (0.5, 0.5, 0.5)}, "mean and std go together"),
        ({"mean": (0.5,), "std": (0.5,)}, "mean=(0.5,) must be three numbers"),
        ({"mean": (0, 0, 0), "std": (1, 0, 1)}, "std=(1, 0, 1) must be three numbers, each above 0"),
        ({"mean": 0.5, "std": 0.5}, "mean=0.5 must be three numbers"),
        ({"value_range": (0, 1, 2)}, "value_range (0, 1, 2) must go from a lower"),
    ],
)
def test_impossible_arguments(way, message):
    with pytest.raises(InputError, match=re.escape(message)):
        to_tensor(np.zeros((2, 2, 3), np.uint8), **way)
    with pytest.raises(InputError, match=re.escape(message)):
        to_image(torch.zeros(3, 2, 2), **way)


def test_a_device_that_is_none():
    with pytest.raises(InputError, match="device 'nonsense' is none: give 'cpu', 'cuda', 'cuda:1' or 'mps'"):
        to_tensor(np.zeros((2, 2), np.uint8), device="nonsense")


@pytest.mark.parametrize("size_wh", [(1, 100_000), (100_000, 1), (1, 1_000_000), (3, 70_000)])
def test_thin_pictures_do_not_take_gigabytes(size_wh):
    """Their short side would be enlarged 224 times, and the long one with it."""
    stripes = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    middle = stripes[size_wh[1] // 2 :, size_wh[0] // 2 :]
    middle[:] = 200
    (batch,) = Batches([stripes], Preprocess(size_wh=(224, 224)))
    levels = (batch.pixels[0, 0] * 255).round()
    across = levels[:, 112] if size_wh[0] < size_wh[1] else levels[112]
    if min(size_wh) == 1:  # the input runs from the centre of the last dark pixel to that of the first bright one
        assert across[0] <= 2
        assert abs(across[111] + across[112] - 200) <= 2
        assert across[-1] >= 198
    assert batch.fits[0].image_wh == size_wh


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("size_hw", [(1, 50), (50, 1), (500, 37), (37, 500), (640, 480), (3, 70)])
def test_resizing_the_middle_alone_is_the_same(monkeypatch, size_hw, interpolation):
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    waves = np.stack([127 + 120 * np.sin(x / 9), 127 + 120 * np.cos(y / 11), 127 + 120 * np.sin((x + y) / 13)], -1)
    pixels = torch.from_numpy(waves.astype(np.uint8)).permute(2, 0, 1)
    preprocess = Preprocess(size_wh=(56, 48), interpolation=interpolation)
    whole = tensors.fit_pixels(pixels, preprocess)
    monkeypatch.setattr(tensors, "_MOST_PIXELS", 0)
    part = tensors.fit_pixels(pixels, preprocess)
    difference = (whole.int() - part.int()).abs()
    assert part.shape == whole.shape
    assert difference.max() <= 32  # a part of a pixel's shift, where a pixel's step is up to 130
    assert difference.float().mean() <= 4
