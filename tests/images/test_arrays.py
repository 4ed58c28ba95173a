"""Arrays and tensors as sources: which are taken, what the others are told."""

import io
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from visionkit.errors import ImageTooLargeError, SourceError
from visionkit.images import load_image

BYTES = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


@settings(max_examples=50, deadline=None)
@given(BYTES)
def test_eight_bit_pixels_round_trip_exactly(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    for source in (buffer.getvalue(), pixels, pixels.astype(np.float32) / 255, pixels / 255.0, Image.fromarray(pixels)):
        assert np.array_equal(np.asarray(load_image(source)), pixels)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_sixteen_bits_are_rounded(values):
    truth = np.rint(values / 257.0)
    for source in (values, values.astype(">u2"), torch.from_numpy(values)):
        assert np.array_equal(np.asarray(load_image(source))[:, :, 0], truth)


def test_every_half_precision_level_comes_back():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    halves = (levels / 255.0).astype(np.float16)
    assert np.array_equal(np.asarray(load_image(halves))[:, :, 0], levels)
    assert np.array_equal(np.asarray(load_image(torch.from_numpy(halves)))[:, :, 0], levels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [None, 1, 3, 4])
@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_every_allowed_shape_and_type(photo, dtype, channels, kind):
    top = {np.uint8: 255, np.uint16: 65535}.get(dtype, 1)
    shape = photo[:, :, 0] if channels is None else np.concatenate([photo, photo[:, :, :1]], 2)[:, :, :channels].copy()
    if channels == 4:
        shape[:, :, 3] = 255
    values = (np.rint(shape / 255.0 * top) if top > 1 else shape / 255.0).astype(dtype)
    truth = np.broadcast_to(shape if shape.ndim == 3 else shape[:, :, None], (48, 64, channels or 1))[:, :, :3]
    source = values
    if kind == "tensor":
        source = torch.from_numpy(values if values.ndim == 2 else values.transpose(2, 0, 1).copy())
    loaded = np.asarray(load_image(source))
    assert np.array_equal(loaded, np.broadcast_to(truth, (48, 64, 3)))


def test_views_of_any_stride(photo):
    assert np.array_equal(np.asarray(load_image(photo[::-2, ::3])), photo[::-2, ::3])
    tensor = torch.from_numpy(photo).permute(2, 0, 1)[:, ::2, ::3]
    assert np.array_equal(np.asarray(load_image(tensor)), photo[::2, ::3])


def test_alpha_of_an_array_lies_on_the_background():
    pixels = np.array([[[9, 9, 9, 0], [1, 2, 3, 255]]], np.uint8)
    loaded = load_image(pixels, background="lime")
    assert np.asarray(loaded).tolist() == [[[0, 255, 0], [1, 2, 3]]]


def test_the_picture_is_no_view_of_the_array(photo):
    mine = photo.copy()
    loaded = load_image(mine)
    mine[:] = 0
    assert np.array_equal(np.asarray(loaded), photo)


def test_tensors_with_a_graph_and_of_bfloat16(photo):
    values = (torch.from_numpy(photo).permute(2, 0, 1) / 255).requires_grad_()
    assert np.array_equal(np.asarray(load_image(values)), photo)
    assert values.requires_grad
    rough = np.asarray(load_image(values.detach().to(torch.bfloat16)), np.int16)
    assert np.abs(rough - photo).max() <= 1


def test_a_parameter_is_a_tensor():
    assert load_image(torch.nn.Parameter(torch.ones(3, 2, 2))).getpixel((0, 0)) == (255, 255, 255)


REFUSED = [
    (np.zeros((2, 4, 4, 3), np.uint8), "<array 2×4×4×3>: it is a batch of images, not one: give list(x)"),
    (np.zeros(5, np.uint8), "<array 5>: the shape must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"),
    (np.array(3, np.uint8), "<array 0-D>: the shape must be (H, W)"),
    (np.zeros((4, 4, 2), np.uint8), "the shape must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"),
    (np.zeros((3, 20, 30), np.uint8), "channels come last in an array: x.transpose(1, 2, 0)"),
    (np.zeros((1,) * 5, np.uint8), "the shape must be (H, W)"),
    (np.zeros((0, 4, 3), np.uint8), "<array 0×4×3>: it has no pixels"),
    (np.zeros((4, 0)), "it has no pixels"),
    (np.zeros((4, 4), np.int64), "its type is int64; give uint8 (0–255), uint16 (0–65535) or float (0–1)"),
    (np.zeros((4, 4), bool), "its type is bool"),
    (np.zeros((4, 4), np.uint32), "its type is uint32"),
    (np.zeros((4, 4), complex), "its type is complex128"),
    (np.array([["a", "b"]]), "its type is <U1"),
    (np.full((4, 4), np.nan), "it has NaN or infinite values"),
    (np.full((4, 4), np.inf), "it has NaN or infinite values"),
    (np.full((4, 4), 255.0), "its floats run from 255 to 255, and must be in 0–1 (divide by 255, or undo a norm"),
    (np.full((4, 4), -0.1), "its floats run from -0.1 to -0.1"),
    (torch.zeros(2, 3, 4, 4), "<tensor 2×3×4×4>: it is a batch of images, not one: give list(x)"),
    (torch.zeros(20, 30, 3), "channels come first in a tensor: x.permute(2, 0, 1)"),
    (torch.zeros(5), "<tensor 5>: the shape must be (H, W), (1, H, W), (3, H, W) or (4, H, W)"),
    (torch.zeros(()), "<tensor 0-D>: the shape must be (H, W)"),
    (torch.zeros(2, 4, 4), "the shape must be (H, W), (1, H, W)"),
    (torch.zeros(3, 0, 4), "it has no pixels"),
    (torch.full((3, 4, 4), float("nan")), "it has NaN or infinite values"),
    (torch.full((3, 4, 4), 2.0, dtype=torch.bfloat16), "its floats run from 2 to 2"),
    (torch.zeros(3, 4, 4, dtype=torch.int64), "its type is int64"),
    (torch.zeros(3, 4, 4, dtype=torch.bool), "its type is bool"),
    (torch.zeros(3, 4, 4, device="meta"), "<tensor 3×4×4>: the tensor has no plain values to read"),
]


@pytest.mark.parametrize(("source", "message"), REFUSED, ids=[m[:40] for _, m in REFUSED])
def test_what_is_refused_and_why(source, message):
    with pytest.raises(SourceError, match=re.escape(message)) as caught:
        load_image(source)
    assert str(caught.value).startswith("cannot load <")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("source", [np.zeros((11, 10), np.uint8), torch.zeros(3, 11, 10)])
def test_max_pixels_holds_for_arrays_too(source):
    with pytest.raises(ImageTooLargeError, match="10×11 is 110 pixels, more than max_pixels=100"):
        load_image(source, max_pixels=100)
