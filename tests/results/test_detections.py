"""`Detections`: checked at birth, to JSON and back, and drawn."""

import re

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

import visionkit as vk
from visionkit.errors import InputError, SourceError
from visionkit.results import Detections

BOXES = [[10.5, 20, 110, 90], [0, 0, 300, 200], [299, 199, 300, 200], [5, 5, 5, 6]]
LABELS = ("cat", "sofa", "cup", "cat")
SCORES = [0.91, 0.5, 0.25, 0.125]


def detections(source="x.png", **fields):
    settings = {"boxes_xyxy": BOXES, "labels": LABELS, "scores": SCORES, "size_wh": (300, 200)}
    return Detections(**{**settings, **fields}, model="transformers:tiny", source=source)


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (300, 200), (200, 200, 200)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_fields():
    found = detections()
    assert len(found) == 4
    assert found.boxes_xyxy.dtype == found.scores.dtype == np.float32
    assert found.boxes_xyxy.tolist() == BOXES
    with pytest.raises(ValueError, match="read-only"):
        found.boxes_xyxy[0, 0] = 1
    with pytest.raises(ValidationError, match="frozen"):
        found.labels = ()


def test_the_callers_array_stays_writable():
    boxes = np.array(BOXES, np.float32)
    found = detections(boxes_xyxy=boxes)
    boxes[0] = 0
    assert found.boxes_xyxy.tolist() == BOXES


@pytest.mark.parametrize("fields", [{}, {"boxes_xyxy": [], "labels": (), "scores": []}], ids=["some", "none"])
def test_json_and_back(fields):
    found = detections(**fields)
    again = Detections.model_validate_json(found.model_dump_json())
    assert again.boxes_xyxy.shape == (len(found), 4)
    assert np.array_equal(again.boxes_xyxy, found.boxes_xyxy)
    assert np.array_equal(again.scores, found.scores)
    assert again.model_dump_json() == found.model_dump_json()
    assert again.model_dump(exclude={"boxes_xyxy", "scores"}) == found.model_dump(exclude={"boxes_xyxy", "scores"})


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "Detections(x.png: 0 objects; transformers:tiny)"),
        (1, "Detections(x.png: 1 object: cat 0.91; transformers:tiny)"),
        (3, "Detections(x.png: 3 objects: cat 0.91 · sofa 0.50 · cup 0.25; transformers:tiny)"),
        (4, "Detections(x.png: 4 objects: cat 0.91 · sofa 0.50 · cup 0.25 · … 1 more; transformers:tiny)"),
    ],
)
def test_repr(count, text):
    found = detections(boxes_xyxy=BOXES[:count], labels=LABELS[:count], scores=SCORES[:count])
    assert repr(found) == str(found) == text


def test_names_in_a_repr_are_printable_and_short():
    names = ("\x1b[31mred\n", "x" * 1000, "\u202eback")
    found = detections(boxes_xyxy=BOXES[:3], labels=names, scores=SCORES[:3])
    assert found.labels == names
    assert repr(found).isprintable()
    assert rf"3 objects: \x1b[31mred\n 0.91 · {'x' * 39}… 0.50 · \u202eback 0.25" in repr(found)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": LABELS[:3]}, r"boxes_xyxy \(4, 4\) and scores \(4,\) do not go with 3 labels"),
        ({"scores": SCORES[:3]}, r"scores \(3,\) do not go with 4 labels"),
        ({"boxes_xyxy": [1, 2, 3, 4]}, r"boxes_xyxy \(4,\)"),
        ({"boxes_xyxy": [*BOXES[:3], [0, 0, np.nan, 1]]}, "must be finite"),
        ({"scores": [*SCORES[:3], np.inf]}, "must be finite"),
        ({"boxes_xyxy": [*BOXES[:3], [0, 0, 301, 1]]}, "must lie inside the image of 300×200"),
        ({"boxes_xyxy": [*BOXES[:3], [0, -1, 1, 1]]}, "must lie inside the image of 300×200"),
        ({"boxes_xyxy": [*BOXES[:3], [0, 0, 1, 201]]}, "must lie inside the image of 300×200"),
        ({"boxes_xyxy": [*BOXES[:3], [9, 0, 8, 1]]}, "must have left ≤ right and top ≤ bottom"),
        ({"boxes_xyxy": [*BOXES[:3], [0, 9, 1, 8]]}, "must have left ≤ right and top ≤ bottom"),
    ],
    ids=str,
)
def test_checked_at_birth(fields, message):
    with pytest.raises(ValidationError, match=message):
        detections(**fields)


def test_the_drawing_reads_the_file_again(photo):
    drawn = detections(str(photo)).draw()
    assert drawn.size == (300, 200)
    assert np.array_equal(np.array(drawn), np.array(detections("gone.png").draw(photo)))
    assert np.array_equal(np.array(drawn), np.array(detections("gone.png").draw(Image.open(photo))))
    assert (np.array(Image.open(photo)) == 200).all()


@pytest.mark.parametrize("source", ["gone.png", "<array 200×300>", "https://example.org/a.png", __file__])
def test_a_drawing_without_the_file(source):
    found = detections(source)
    with pytest.raises(InputError, match=r"cannot be read again to draw on; give .*: detections\.draw\(image\)"):
        found.draw()
    assert "<img" not in found._repr_html_()


def test_a_drawing_on_another_picture(photo):
    with pytest.raises(InputError, match=r"of a picture of 300×200, not of 20×10; give the picture .*: gone\.png"):
        detections("gone.png").draw(np.zeros((10, 20, 3), np.uint8))
    with pytest.raises(SourceError, match="no such file"):
        detections(str(photo)).draw("nothing.png")


def test_what_a_notebook_shows(tmp_path):
    Image.new("RGB", (3000, 1500), "white").save(tmp_path / "large.png")
    found = detections(str(tmp_path / "large.png"), size_wh=(3000, 1500))
    shown = found._repr_html_()
    assert vk.load_image(re.search(r'src="(data:[^"]+)"', shown)[1]).size == (1024, 512)
    assert "cat 0.91" in shown


def test_boxes_at_the_border_show_all_their_edges():
    found = detections(boxes_xyxy=[[0, 0, 300, 200]], labels=("cat",), scores=[1.0])
    drawn = np.array(found.draw(np.zeros((200, 300, 3), np.uint8))).any(2)
    for edge in (drawn[:, 0], drawn[:, -1], drawn[0], drawn[-1]):
        assert edge.all()


def test_a_caption_at_the_border_is_not_cut_off():
    def caption(left):
        found = detections(boxes_xyxy=[[left, 100, left + 9, 150]], labels=("space shuttle",), scores=[0.88])
        above = np.array(found.draw(np.zeros((200, 300, 3), np.uint8)))[:98]
        rows, columns = np.nonzero(above.any(2))
        return above[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]

    assert np.array_equal(caption(291), caption(50))
    assert len(np.unique(caption(50).reshape(-1, 3), axis=0)) > 5  # there is a text on it
