"""The verb: boxes of whatever a detector says come back inside the upright picture."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from visionkit.errors import CapabilityError, Failure, InputError, ModelError, SourceError
from visionkit.models import load_model
from visionkit.models.protocols import Boxes
from visionkit.pipeline import Preprocess
from visionkit.results import Detections
from visionkit.tasks.classify import classify
from visionkit.tasks.detect import detect


class Fixed:
    """A detector of the user's own: says the same boxes, in input pixels, of every picture."""

    name = "fixed"
    device = torch.device("cpu")
    speed = "exact"
    labels = ("cat", "dog")

    def __init__(self, boxes, preprocess):
        self.boxes = boxes
        self.preprocess = preprocess

    def detect_boxes(self, batch, *, threshold):
        scores = [0.9 - 0.1 * i for i in range(len(self.boxes))]
        kept = [i for i, score in enumerate(scores) if score > threshold]
        boxes = np.array([self.boxes[i] for i in kept], np.float32).reshape(-1, 4)
        one = Boxes(boxes, tuple(self.labels[i % 2] for i in kept), tuple(scores[i] for i in kept))
        return [one] * len(batch)


SQUASH = Preprocess(size_wh=(100, 100), resize="squash")
QUARTER = [[25, 25, 50, 50]]


@pytest.fixture(scope="module")
def detector(rt_detr_folder):
    return load_model(f"transformers:{rt_detr_folder}", task="detect", device="cpu", speed="exact")


def picture(width, height):
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("preprocess", "expected"),
    [
        (SQUASH, [100, 50, 200, 100]),
        (Preprocess(size_wh=(100, 100), resize="letterbox"), [100, 0, 200, 100]),
        (Preprocess(size_wh=(100, 100), resize="shortest"), [150, 50, 200, 100]),
    ],
    ids=lambda v: getattr(v, "resize", ""),
)
def test_boxes_are_of_the_picture_whatever_the_model_saw(preprocess, expected):
    result = detect(picture(400, 200), model=Fixed(QUARTER, preprocess))
    assert result.boxes_xyxy.tolist() == [expected]
    assert (result.size_wh, result.labels, result.model) == ((400, 200), ("cat",), "fixed")
    assert result.scores.tolist() == pytest.approx([0.9])


def test_what_a_model_says_wrongly_is_made_right():
    wild = [[-50, 10, 150, 20], [np.nan, 10, np.inf, 20], [60, 80, 40, 70], [200, 200, 300, 300]]
    result = detect(picture(400, 200), model=Fixed(wild, SQUASH))
    assert result.boxes_xyxy.tolist() == [
        [0, 20, 400, 40],
        [0, 20, 400, 40],
        [160, 140, 240, 160],
        [400, 200, 400, 200],
    ]


def test_boxes_are_of_the_upright_picture(tmp_path):
    image = Image.fromarray(picture(400, 200))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90°
    image.save(tmp_path / "turned.jpg", exif=exif)
    result = detect(tmp_path / "turned.jpg", model=Fixed(QUARTER, SQUASH))
    assert result.size_wh == (200, 400)
    assert result.boxes_xyxy.tolist() == [[50, 100, 100, 200]]


def test_nothing_found():
    result = detect(picture(40, 20), model=Fixed([], SQUASH))
    assert len(result) == 0
    assert result.boxes_xyxy.shape == (0, 4)


def test_one_many_and_lazily(detector, photos):
    one = detect(photos[0], model=detector, threshold=0.0)
    assert isinstance(one, Detections)
    many = detect([str(p) for p in photos], model=detector, threshold=0.0)
    assert [r.source for r in many] == [str(p) for p in photos]
    assert np.array_equal(many[0].labels, one.labels)
    read = []
    stream = detect((read.append(p) or p for p in photos), model=detector, batch_size=1)
    assert read == []
    assert next(stream).source == str(photos[0])
    assert len(read) < len(photos)
    stream.close()
    assert detect([], model=detector) == []


def test_a_name_is_loaded_and_kept(rt_detr_folder, photos):
    result = detect(photos[0], model=f"transformers:{rt_detr_folder}", threshold=0.0, device="cpu", speed="exact")
    assert result.model == f"transformers:{rt_detr_folder}"
    assert len(result) > 20


def test_a_bad_picture_among_good_ones(detector, photos):
    images = [photos[0], "missing.jpg", photos[1]]
    first, bad, last = detect(images, model=detector, on_error="return")
    assert isinstance(bad, Failure)
    assert (bad.index, bad.source) == (1, "missing.jpg")
    assert (first.source, last.source) == (str(photos[0]), str(photos[1]))
    with pytest.raises(SourceError, match=r"cannot load missing\.jpg: no such file") as caught:
        detect(images, model=detector)
    assert [r.source for r in caught.value.results] == [str(photos[0])]


def test_labels_for_fixed_classes(detector, photos):
    with pytest.raises(InputError, match=r"finds its own 3 classes and takes no labels; leave them out") as caught:
        detect(photos[0], ["cat"], model=detector)
    found = detect(photos[0], model=detector, threshold=0.0)
    advice = str(caught.value).rpartition("afterwards: ")[2].replace("'cat'", "'cup'")
    assert len(eval(advice, {"found": found})) == found.labels.count("cup")  # noqa: S307 - the line that users are told


@pytest.mark.parametrize(
    ("labels", "message"), [([], "at least one class"), (["a", "a"], "given twice"), ("cat", "list of names")]
)
def test_labels_that_are_none(detector, photos, labels, message):
    with pytest.raises(InputError, match=message):
        detect(photos[0], labels, model=detector)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), 50, "high", None, True, 1 + 2j])
def test_a_threshold_that_is_no_score(detector, photos, threshold):
    with pytest.raises(InputError, match=re.escape(f"threshold {threshold!r} must be a score between 0 and 1")):
        detect(photos[0], model=detector, threshold=threshold)


def test_a_threshold_as_text_or_numpy(detector, photos):
    with pytest.raises(InputError, match=r"threshold '0\.5' must be a score between 0 and 1"):
        detect(photos[0], model=detector, threshold="0.5")
    with pytest.raises(InputError, match="must be a score between 0 and 1"):
        detect(photos[0], model=detector, threshold=np.array([0.5, 0.5]))
    assert detect(photos[0], model=detector, threshold=np.float32(0.5)) == detect(photos[0], model=detector)


class Careless(Fixed):
    """Gives what it is told to, of a picture 10 pixels wide; else what is right."""

    def __init__(self, wrong):
        super().__init__(QUARTER, SQUASH)
        self.wrong = wrong

    def detect_boxes(self, batch, *, threshold):
        right = super().detect_boxes(batch, threshold=threshold)
        return [self.wrong if fit.image_wh[0] == 10 else boxes for fit, boxes in zip(batch.fits, right, strict=True)]


ONE = np.array(QUARTER, np.float32)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (Boxes(ONE, ("cat",), (float("nan"),)), "boxes_xyxy and scores must be finite"),
        (Boxes(ONE, ("cat", "dog"), (0.9,)), "do not go with 2 labels"),
        (Boxes(ONE, (1,), (0.9,)), r"labels\.0: Input should be a valid string"),
        (Boxes(ONE[:, :3], ("cat",), (0.9,)), "cannot"),
        (Boxes(ONE, ("cat",), ("high",)), "could not convert"),
        (None, "'NoneType' object has no attribute"),
    ],
)
def test_what_a_third_partys_detector_finds_wrongly(wrong, reason):
    model = Careless(wrong)
    pictures = [picture(20, 20), picture(10, 20), picture(30, 20)]
    first, bad, last = detect(pictures, model=model, on_error="return")
    assert (len(first), len(last)) == (1, 1)
    assert (bad.index, bad.source, type(bad.error)) == (1, "<array 20×10×3>", ModelError)
    assert str(bad.error).startswith("fixed: what it found cannot be used: ")
    with pytest.raises(ModelError, match=reason) as caught:
        detect(pictures, model=model)
    assert len(caught.value.results) == 1


@pytest.mark.parametrize(
    ("found", "given"), [([], "boxes of 0"), ([Boxes(ONE, ("cat",), (0.9,))] * 3, "boxes of 3"), (None, "a NoneType")]
)
def test_boxes_of_another_number_of_pictures(found, given):
    model = Fixed(QUARTER, SQUASH)
    model.detect_boxes = lambda batch, *, threshold: found
    pictures = [picture(20, 20), "missing.jpg", picture(10, 20)]
    failures = detect(pictures, model=model, on_error="return")
    assert [failure.index for failure in failures] == [0, 1, 2]
    assert [type(failure.error) for failure in failures] == [ModelError, SourceError, ModelError]
    assert str(failures[0].error) == f"fixed: gave {given} for 2 pictures; this is the model's mistake"


def test_arguments_are_checked_at_the_call(detector, photos):
    with pytest.raises(InputError, match="batch_size=0"):
        detect(iter(photos), model=detector, batch_size=0)
    with pytest.raises(InputError, match="device= and speed= go with a model's name"):
        detect(photos[0], model=detector, device="cpu")


def test_a_model_that_cannot_detect(photos):
    classify(photos[0], model="visionkit:efficientnet_lite0")  # the verbs hold it from now on
    with pytest.raises(CapabilityError, match="efficientnet_lite0' cannot detect: visionkit: models do classify"):
        detect(photos[0], model="visionkit:efficientnet_lite0")
    classifier = load_model("visionkit:simple_cnn")
    with pytest.raises(CapabilityError, match="visionkit:simple_cnn cannot detect"):
        detect(photos[0], model=classifier)
    with pytest.raises(
        InputError, match="model=object is no model: give a name, a saved folder, or what vk.load_model gives"
    ):
        detect(photos[0], model=object())
