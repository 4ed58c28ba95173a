from __future__ import annotations

import numpy as np
import pytest

import visionkit as vk
from visionkit.errors import InputError, SourceError


def cells(sheet, side, count):
    """The pictures of a sheet of squares, read back."""
    array = np.asarray(sheet)
    columns = (array.shape[1] - 8) // (side + 8)
    places = [divmod(i, columns) for i in range(count)]
    return [
        array[8 + y * (side + 8) : 8 + y * (side + 8) + side, 8 + x * (side + 8) : 8 + x * (side + 8) + side]
        for y, x in places
    ]


def test_the_picture_and_its_variants(cat):
    preprocess = vk.Preprocess(size_wh=(96, 96))
    sheet = vk.show_augmentation(cat, "standard", n=8, preprocess=preprocess)
    first, *variants = cells(sheet, 96, 9)
    batch = next(vk.Batches([cat], preprocess, device="cpu", speed="exact"))
    assert np.abs(first - batch.pixels[0].permute(1, 2, 0).numpy() * 255).max() < 0.01
    assert len({variant.tobytes() for variant in (first, *variants)}) == 9
    again = vk.show_augmentation(cat, "standard", n=8, preprocess=preprocess)
    assert again.tobytes() == sheet.tobytes()
    assert vk.show_augmentation(cat, n=8, preprocess=preprocess, seed=1).tobytes() != sheet.tobytes()


def test_none_shows_the_picture_twice(cat):
    one, other = cells(vk.show_augmentation(cat, "none", n=1), 224, 2)
    assert (one == other).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "wild"}, "augment='wild' is no policy"),
        ({"n": 0}, "n=0 must be a whole number from 1 to 100"),
        ({"n": 2.0}, "n=2.0 must be a whole number"),
        ({"seed": -1}, "seed=-1 must be a whole number from 0"),
    ],
)
def test_bad_input(cat, options, message):
    with pytest.raises(InputError, match=message):
        vk.show_augmentation(cat, **options)


def test_no_picture():
    with pytest.raises(SourceError, match="no such file"):
        vk.show_augmentation("nowhere.jpg")
