"""`Fit`: the way into a model's input and back, for every kind of resize."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionkit import Preprocess
from visionkit.images import Fit

steady = settings(derandomize=True, deadline=None)  # the same examples each time, on a busy machine too
sides = st.integers(1, 4000)
sizes = st.tuples(sides, sides)
inputs = st.tuples(st.integers(1, 1024), st.integers(1, 1024))
resizes = st.sampled_from(["shortest", "squash", "letterbox"])
fractions = st.floats(0, 1, width=32)
TOLERANCE = 2e-6  # float32 holds a coordinate to one part in 16 million; a few of them are lost on the way


def fit_of(image_wh, input_wh, resize):
    return Preprocess(size_wh=input_wh, resize=resize).fit(image_wh)


def allowed(fit):
    """How far a round trip may be off, in image pixels: float32's rounding of a coordinate in the input."""
    largest = np.array(fit.input_wh) + np.abs(fit.offset_xy) + np.array(fit.image_wh) * fit.scale_xy
    return TOLERANCE * (largest / fit.scale_xy).max() + 1e-4


@steady
@given(sizes, inputs, resizes, st.lists(st.tuples(fractions, fractions), min_size=1, max_size=5))
def test_points_come_back(image_wh, input_wh, resize, spots):
    fit = fit_of(image_wh, input_wh, resize)
    points = np.array(spots) * image_wh
    back = fit.points_to_image(fit.points_to_input(points))
    assert back.dtype == np.float32
    assert np.abs(back - points).max() <= allowed(fit)


@steady
@given(sizes, inputs, resizes, st.tuples(fractions, fractions), st.tuples(fractions, fractions))
def test_boxes_come_back(image_wh, input_wh, resize, one, other):
    fit = fit_of(image_wh, input_wh, resize)
    corners = np.sort(np.array([one, other]), axis=0) * image_wh
    back = fit.boxes_to_image(fit.boxes_to_input(corners.reshape(1, 4)))
    assert back.shape == (1, 4)
    assert np.abs(back - corners.reshape(1, 4)).max() <= allowed(fit)


@steady
@given(sizes, inputs, st.sampled_from(["squash", "letterbox"]))
def test_the_whole_image_is_in_the_input(image_wh, input_wh, resize):
    fit = fit_of(image_wh, input_wh, resize)
    left, top, right, bottom = fit.boxes_to_input([[0, 0, *image_wh]])[0]
    assert left >= 0
    assert top >= 0
    assert right <= input_wh[0] * (1 + 1e-6)
    assert bottom <= input_wh[1] * (1 + 1e-6)


@steady
@given(sizes, inputs, resizes, st.lists(st.floats(), min_size=4, max_size=4))
def test_any_box_of_a_model_becomes_finite_and_inside(image_wh, input_wh, resize, numbers):
    box = fit_of(image_wh, input_wh, resize).boxes_to_image([numbers])
    assert np.isfinite(box).all()
    assert (box >= 0).all()
    assert (box <= [*image_wh, *image_wh]).all()


@pytest.mark.parametrize(
    ("resize", "corner", "opposite"),
    [
        ("squash", (0, 0), (100, 100)),
        ("letterbox", (0, 25), (100, 75)),
        ("shortest", (-50, 0), (150, 100)),
    ],
)
def test_a_wide_picture_lies_where_it_must(resize, corner, opposite):
    fit = fit_of((400, 200), (100, 100), resize)
    assert fit.boxes_to_input([[0, 0, 400, 200]]).tolist() == [[*corner, *opposite]]
    assert fit.boxes_to_image([[*corner, *opposite]]).tolist() == [[0, 0, 400, 200]]
    assert fit.points_to_image([50, 50]).tolist() == [200, 100]


def test_pixels_lie_where_fit_says():
    # a bright square of the picture is found in the input where Fit puts it, to half a pixel
    from PIL import Image

    from visionkit.pipeline.tensors import fit_pixels, pixels_of

    array = np.zeros((150, 260, 3), np.uint8)
    array[60:90, 120:180] = 255
    for resize in ("shortest", "squash", "letterbox"):
        preprocess = Preprocess(size_wh=(128, 96), resize=resize, interpolation="bilinear")
        bright = (fit_pixels(pixels_of(Image.fromarray(array)), preprocess)[0] > 127).numpy()
        rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
        found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        wanted = preprocess.fit((260, 150)).boxes_to_input([[120, 60, 180, 90]])[0]
        if resize == "letterbox":  # the grey around is dark enough
            assert bright.sum() < bright.size / 2
        assert np.abs(np.array(found) - wanted).max() <= 1, resize


def test_no_boxes():
    fit = Fit((10, 20), (5, 5), (0.5, 0.25), (0.0, 0.0))
    assert fit.boxes_to_image(np.zeros((0, 4))).shape == (0, 4)
    assert fit.boxes_to_input(np.zeros((0, 4))).shape == (0, 4)
