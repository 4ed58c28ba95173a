"""`Heatmap` and `Grid`: shapes checked at birth, drawn over the right pixels, the same after JSON."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

import visionkit as vk
from visionkit.errors import InputError
from visionkit.images import heat_picture
from visionkit.results import Grid, Heatmap, Patch, Patches

FIT = vk.Preprocess(size_wh=(16, 16)).fit((40, 20))
HEAT = np.array([[0, 0.5], [0.25, 1]], np.float32)
SAID = {"label": "cat", "score": 0.75, "method": "grad_cam", "model": "m"}


def heatmap(source="x.png", **changes):
    return Heatmap(
        **{"heat": HEAT, "fit": FIT, "layer": "top", "faithfulness": 0.125, "source": source, **SAID, **changes}
    )


def test_values_lie_over_the_whole_picture():
    values = heatmap().values
    assert (values.shape, values.dtype) == ((20, 40), np.float32)
    assert values[:, :10].max() == 0
    assert values[-1, 29] == 1
    assert not values.flags.writeable


def test_json_and_back():
    result = heatmap(faithfulness=None, layer=None)
    again = Heatmap.model_validate_json(result.model_dump_json())
    assert again == result
    assert again.fit == FIT
    np.testing.assert_array_equal(again.values, result.values)
    assert again != heatmap()


def test_it_says_the_best():
    assert repr(heatmap()) == "Heatmap(x.png: cat 0.75, 20×40, faithfulness +0.12; grad_cam of layer top, m)"
    assert repr(heatmap(layer=None, faithfulness=None)) == "Heatmap(x.png: cat 0.75, 20×40; grad_cam, m)"


@pytest.mark.parametrize(
    ("heat", "message"),
    [([[2.0]], "heat must be in 0–1"), ([[np.nan]], "heat must be in 0–1"), ([0.5], r"heat must be \(h, w\)")],
)
def test_impossible_heat(heat, message):
    with pytest.raises(ValidationError, match=message):
        heatmap(heat=heat)


@pytest.mark.parametrize("fit", [{}, {"image_wh": 3}, {"size": [3, 4]}])
def test_json_that_is_no_heat_map_is_refused_as_pydantic_does(fit):
    with pytest.raises(ValidationError, match="fit is none"):
        heatmap(fit=fit)


def test_over_the_picture(tmp_path):
    path = tmp_path / "grey.png"
    Image.new("RGB", (40, 20), (90, 90, 90)).save(path)
    result = heatmap(str(path))
    drawn = result.overlay()
    assert drawn.getpixel((29, 19)) == (171, 172, 127)  # half of light yellow
    assert drawn.getpixel((0, 0)) == (45, 45, 47)
    assert result.overlay(alpha=0) == vk.load_image(path)
    assert vk.load_image(result.save(tmp_path / "heat.png")) == drawn
    assert "data:image/jpeg" in result._repr_html_()
    path.unlink()
    with pytest.raises(InputError, match=r"cannot be read again to draw on; give the picture: heatmap\.overlay"):
        result.overlay()
    assert vk.load_image(result.save(tmp_path / "heat.png")) == heat_picture(result.values)


def test_refusals(tmp_path):
    with pytest.raises(InputError, match="this heat is of a picture of 40×20, not of 20×40"):
        heatmap().overlay(np.zeros((40, 20, 3), np.uint8))
    with pytest.raises(InputError, match="alpha=1.5 must be a number from 0 to 1"):
        heatmap().overlay(np.zeros((20, 40, 3), np.uint8), alpha=1.5)
    with pytest.raises(InputError, match=r"heat\.jpg: a heat map is saved as \.png"):
        heatmap().save(tmp_path / "heat.jpg")


def test_a_grid(tmp_path):
    grid = Grid(image=Image.new("RGB", (6, 4), "red"), rows=("a", "b"), model="m", source="x")
    assert repr(grid) == "Grid(x: 2 rows, 6×4; m)"
    assert vk.load_image(grid.save(tmp_path / "grid.png")) == vk.load_image(grid._repr_png_()) == grid.image
    with pytest.raises(InputError, match=r"saved as \.png"):
        grid.save(tmp_path / "grid.gif")
    assert "image" not in grid.model_dump()


def test_patches_have_a_row_each():
    patch = Patch(source="x.png", box_xyxy=(1, 2, 3, 4), activation=0.5)
    made = Patches(
        image=Image.new("RGB", (2, 2)), rows=("r",), patches=[patch] * 2, layer="top", channel=3, model="m", source="s"
    )
    table = vk.to_pandas(made)
    assert table["source"].tolist() == ["x.png"] * 2
    assert table["box_xyxy"][0] == [1, 2, 3, 4]
    assert table["channel"].tolist() == [3, 3]
