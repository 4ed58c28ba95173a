"""`Preprocess` places pictures where torchvision, timm and open_clip place them."""

import json

import numpy as np
import open_clip
import pytest
import timm.data
import torch
from PIL import Image
from torchvision.transforms import v2

from visionkit import Preprocess
from visionkit.errors import InputError
from visionkit.pipeline.tensors import fit_pixels, pixels_of

SIZES_WH = [(640, 480), (331, 517), (500, 37), (63, 63), (64, 65), (9, 5), (3, 40), (1, 50), (50, 1), (1, 1)]


def picture(size_wh):
    width, height = size_wh
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8))


def fitted(image, preprocess):
    return fit_pixels(pixels_of(image), preprocess)


@pytest.mark.parametrize("size_wh", SIZES_WH, ids=str)
@pytest.mark.parametrize(
    ("resize_to", "crop_wh"),
    [(64, (56, 56)), (63, (56, 56)), (56, (56, 56)), (40, (48, 32)), (32, (56, 48)), (20, (57, 56))],
    ids=str,
)
def test_shortest_is_resize_and_centre_crop_of_torchvision(size_wh, resize_to, crop_wh):
    image = picture(size_wh)
    planes = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    transform = v2.Compose(
        [v2.Resize(resize_to, v2.InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(crop_wh[::-1])]
    )
    ours = fitted(image, Preprocess(size_wh=crop_wh, resize="shortest", resize_to=resize_to))
    assert torch.equal(ours, transform(planes))


# Pillow's filters are not torchvision's: two levels apart at most; a picture of noise moved by one pixel, over 100.
LEVELS = 2.5 / 255


@pytest.mark.parametrize("size_wh", SIZES_WH, ids=str)
@pytest.mark.parametrize("crop_pct", [0.875, 0.95, 1.0, 1.3])
def test_shortest_is_where_timm_puts_it(size_wh, crop_pct):
    image = picture(size_wh)
    transform = timm.data.create_transform(
        (3, 56, 56), interpolation="bicubic", crop_pct=crop_pct, mean=(0, 0, 0), std=(1, 1, 1), is_training=False
    )
    ours = fitted(image, Preprocess(size_wh=(56, 56), resize_to=int(56 / crop_pct)))
    assert (ours / 255 - transform(image)).abs().max() < LEVELS


@pytest.mark.parametrize("size_wh", SIZES_WH, ids=str)
@pytest.mark.parametrize("resize", ["shortest", "squash"])
def test_shortest_and_squash_are_where_open_clip_puts_them(size_wh, resize):
    image = picture(size_wh)
    transform = open_clip.image_transform(56, is_train=False, mean=(0, 0, 0), std=(1, 1, 1), resize_mode=resize)
    ours = fitted(image, Preprocess(size_wh=(56, 56), resize=resize))
    assert (ours / 255 - transform(image)).abs().max() < LEVELS


@pytest.mark.parametrize("size_wh", SIZES_WH, ids=str)
@pytest.mark.parametrize("input_wh", [(64, 64), (80, 48), (33, 57)], ids=str)
def test_letterbox_keeps_the_whole_picture_on_grey(size_wh, input_wh):
    preprocess = Preprocess(size_wh=input_wh, resize="letterbox", interpolation="bilinear")
    width, height = preprocess.resized_wh(size_wh)
    left, top = preprocess.offset_xy((width, height))
    assert width == input_wh[0] or height == input_wh[1]
    scale = min(input_wh[0] / size_wh[0], input_wh[1] / size_wh[1])
    assert abs(width - size_wh[0] * scale) <= 0.5 or width == 1
    assert abs(height - size_wh[1] * scale) <= 0.5 or height == 1
    assert 0 <= input_wh[0] - width - 2 * left <= 1
    assert 0 <= input_wh[1] - height - 2 * top <= 1
    pixels = fitted(picture(size_wh), preprocess)
    inside = torch.zeros(input_wh[::-1], dtype=torch.bool)
    inside[top : top + height, left : left + width] = True
    assert (pixels[:, ~inside] == 114).all()
    alone = fitted(picture(size_wh), Preprocess(size_wh=(width, height), resize="squash", interpolation="bilinear"))
    assert torch.equal(pixels[:, top : top + height, left : left + width], alone)


def test_resize_to_is_the_shorter_side_by_default():
    assert Preprocess(size_wh=(80, 48)).resized_wh((200, 100)) == (96, 48)
    assert Preprocess(size_wh=(80, 48), resize_to=60).resized_wh((100, 200)) == (60, 120)


@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(size_wh=(224, 224)),
        Preprocess(size_wh=(96, 64), resize_to=80, interpolation="bilinear", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)),
        Preprocess(size_wh=(640, 640), resize="squash", interpolation="nearest"),
        Preprocess(size_wh=(640, 480), resize="letterbox"),
    ],
    ids=str,
)
def test_json_and_back(preprocess):
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess
    assert Preprocess.from_dict(preprocess.to_dict()) == preprocess


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size_wh": (0, 5)}, r"size_wh \(0, 5\) must be width and height, two positive whole"),
        ({"size_wh": (5, -1)}, r"size_wh \(5, -1\) must be width and height, two positive whole"),
        ({"resize": "longest"}, "resize 'longest' must be one of shortest, squash, letterbox"),
        ({"interpolation": "area"}, "interpolation 'area' must be one of nearest, bilinear, bicubic"),
        ({"resize": "squash", "resize_to": 8}, "resize_to goes with resize='shortest' and is a positive number"),
        ({"resize_to": 0}, "resize_to goes with resize='shortest' and is a positive number"),
        ({"mean": (0.5,)}, r"mean=\(0\.5,\) must be three numbers"),
        ({"mean": None}, "mean=None must be three numbers"),
        ({"mean": (float("nan"),) * 3}, "must be three numbers, each finite"),
        ({"resize_to": "256"}, "resize_to goes with"),
        ({"std": (1.0, 1.0)}, r"std=\(1\.0, 1\.0\) must be three numbers"),
        ({"std": (1.0, 0.0, 1.0)}, "each above 0"),
    ],
    ids=str,
)
def test_impossible_fields(fields, message):
    with pytest.raises(InputError, match=message):
        Preprocess(**{"size_wh": (8, 8), **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size_wh": [8, 8], "colour": "bgr"}, "this is no Preprocess: .*colour"),
        ({"resize": "squash"}, "this is no Preprocess: .*size_wh"),
        ({"size_wh": [8, 0]}, "must be width and height, two positive whole"),
    ],
    ids=str,
)
def test_impossible_dicts(fields, message):
    with pytest.raises(InputError, match=message):
        Preprocess.from_dict(fields)
