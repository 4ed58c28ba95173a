"""Heat maps over pictures, and pictures in rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from visionkit import Preprocess
from visionkit.errors import InputError
from visionkit.images import Fit, at_side, color_picture, draw_heat, draw_rows, heat_picture

steady = settings(derandomize=True, deadline=None)
sides = st.integers(1, 300)
resizes = st.sampled_from(["shortest", "squash", "letterbox"])


@steady
@given(st.tuples(sides, sides), st.tuples(sides, sides), resizes, st.tuples(st.integers(1, 20), st.integers(1, 20)))
def test_even_heat_is_even_where_the_model_looks_and_nothing_elsewhere(image_wh, input_wh, resize, shape):
    fit = Preprocess(size_wh=input_wh, resize=resize).fit(image_wh)
    heat = fit.heat_to_image(np.full(shape, 0.75))
    assert heat.shape == image_wh[::-1]
    assert heat.dtype == np.float32
    x, y = ((np.arange(n) + 0.5) * s + o for n, s, o in zip(image_wh, fit.scale_xy, fit.offset_xy, strict=True))
    seen = np.outer((y >= 0) & (y <= input_wh[1]), (x >= 0) & (x <= input_wh[0]))
    np.testing.assert_allclose(heat, np.where(seen, 0.75, 0), atol=1e-6)


def test_a_ramp_comes_back_as_it_went():
    # linear heat over the input is the same linear heat over the picture, but for half a point at the edges
    fit = Preprocess(size_wh=(64, 48), resize="squash").fit((160, 96))
    ramp = np.tile((np.arange(16) + 0.5) / 16, (12, 1))
    heat = fit.heat_to_image(ramp)
    wanted = (np.arange(160) + 0.5) / 160
    np.testing.assert_allclose(heat[:, 5:-5], np.tile(wanted, (96, 1))[:, 5:-5], atol=1e-6)


def test_a_hot_spot_lies_where_it_was():
    heat = np.zeros((7, 7))
    heat[2, 5] = 1
    fit = Preprocess(size_wh=(224, 224), resize_to=256).fit((500, 400))
    spread = fit.heat_to_image(heat)
    row, column = np.unravel_index(spread.argmax(), spread.shape)
    wanted = fit.points_to_image([5.5 * 32, 2.5 * 32])
    assert np.abs(np.array([column, row]) + 0.5 - wanted).max() <= 1
    assert spread[:, :70].max() == 0  # cut off by the crop


def test_finer_heat_than_the_picture_is_averaged_not_sampled():
    checks = np.indices((64, 64)).sum(0) % 2
    fit = Fit((4, 4), (64, 64), (16.0, 16.0), (0.0, 0.0))
    np.testing.assert_allclose(fit.heat_to_image(checks), 0.5, atol=0.01)


def test_hotter_is_brighter():
    drawn = heat_picture(np.linspace(0, 1, 256)[None])
    assert drawn.size == (256, 1)
    grey = np.array(drawn.convert("L"), int)[0]
    assert (np.diff(grey) >= 0).all()
    assert grey[0] <= 1
    assert grey[-1] >= 240


def test_heat_over_a_picture():
    picture = Image.new("RGB", (4, 2), (200, 0, 0))
    values = np.array([[0, 0, 1, 1]] * 2, np.float32)
    assert draw_heat(picture, values, 0.0).getcolors() == [(8, (60, 60, 60))]
    assert draw_heat(picture, values, 1.0) == heat_picture(values)


def test_pictures_of_values():
    assert color_picture(np.array([[0.0, 0.5, 2.0]])).getpixel((1, 0)) == (128, 128, 128)
    assert color_picture(np.array([[[1.0, 0.0, -1.0]]])).getpixel((0, 0)) == (255, 0, 0)
    assert at_side(Image.new("RGB", (3, 2)), 10).size == (9, 6)
    assert at_side(Image.new("RGB", (300, 20)), 10).size == (10, 1)


def test_rows():
    red, blue = Image.new("RGB", (20, 10), "red"), Image.new("RGB", (30, 15), "blue")
    sheet = draw_rows([("one", [red, red]), ("two\x1b", [blue])])
    colors = {color: count for count, color in sheet.getcolors(100_000)}
    assert colors[255, 0, 0] == 2 * 200
    assert colors[0, 0, 255] == 450
    for rows in ([], [("none", [])]):
        with pytest.raises(InputError, match="needs at least one picture in each"):
            draw_rows(rows)
    with pytest.raises(InputError, match="is too large: draw fewer or smaller pictures"):
        draw_rows([("x", [Image.new("RGB", (9000, 9000))])])
