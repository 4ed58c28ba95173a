"""What notebooks show: escaped, no script, nothing from elsewhere, and the picture while it is there."""

from __future__ import annotations

import os
import re
import threading
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import visionkit as vk
from support.results import HOSTILE, every_result
from visionkit.errors import SourceError
from visionkit.images.thumbnails import picture_uri
from visionkit.results import Answer, Classification, Detections, Embeddings

VOID = {"img", "br"}


class Page(HTMLParser):
    """The elements, attributes and text of a piece of HTML, which must be well formed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def pictures(self):
        return [vk.load_image(value) for name, value in self.attributes if name == "src"]


@pytest.mark.parametrize("name", every_result("x.png"))
def test_only_harmless_elements(name):
    page = Page(every_result(HOSTILE)[name]._repr_html_())
    assert set(page.tags) <= {"div", "span", "strong", "img"}
    assert {attribute for attribute, _ in page.attributes} <= {"style", "src", "alt"}
    assert all(value.startswith("data:image/") for attribute, value in page.attributes if attribute == "src")
    assert not any("url(" in value or "expression" in value for attribute, value in page.attributes)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", page.text)


@pytest.mark.parametrize("name", ["classification", "detections", "answer", "generated", "embeddings", "failure"])
def test_hostile_texts_are_shown_as_they_are(name):
    assert '<script>document.title="ran"</script>' in Page(every_result(HOSTILE)[name]._repr_html_()).text


@pytest.mark.parametrize("name", ["classification", "detections", "answer", "embeddings"])
def test_the_picture_is_there_until_the_file_is_gone(name, tmp_path):
    Image.new("RGB", (60, 40), (250, 10, 10)).save(tmp_path / "red.png")
    result = every_result(str(tmp_path / "red.png"))[name]
    [shown] = Page(result._repr_html_()).pictures()
    assert shown.size == (60, 40)
    (tmp_path / "red.png").unlink()
    assert Page(result._repr_html_()).pictures() == []


def test_a_thumbnail_is_small_upright_and_without_metadata(tmp_path):
    photo = Image.new("RGB", (1200, 400), (10, 10, 250))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "secret"
    photo.save(tmp_path / "photo.jpg", exif=exif)
    text = every_result(str(tmp_path / "photo.jpg"))["classification"]._repr_html_()
    [shown] = Page(text).pictures()
    assert shown.size == (53, 160)
    assert np.abs(np.asarray(shown).mean((0, 1)) - [10, 10, 250]).max() < 5
    assert len(text) < 5000


def test_nothing_is_read_but_files_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    before = threading.active_count()
    for source in (
        "pipe.png",
        "https://127.0.0.1:9/cat.png",
        "//machine/share/cat.png",
        "\\\\machine\\share\\cat.png",
        picture_uri(Image.new("RGB", (8, 8)), 8),
        "",
        ".",
        "\0",
        "x" * 9000,
        __file__,
    ):
        assert Page(every_result(source)["classification"]._repr_html_()).pictures() == []
    assert threading.active_count() == before


def test_bars_and_what_stands_behind_them():
    def shown(kind, **scores):
        return Classification.from_scores(scores, model="m", source="x", score_kind=kind)._repr_html_()

    probable = shown("probability", a=0.7, b=0.2, c=0.05, d=0.03, e=0.01, f=0.01)
    assert re.findall(r"width:([\d.]+)%;height:10px", probable) == ["70.0", "20.0", "5.0", "3.0", "1.0"]
    text = Page(probable).text
    assert "70.0%" in text
    assert "… 1 more" in text
    alike = shown("similarity", a=1.5, b=-0.25, c=float("nan"))
    assert re.findall(r"width:([\d.]+)%;height:10px", alike) == ["100.0", "0.0", "0"]
    assert "-0.25" in Page(alike).text


def test_what_an_answer_shows():
    answer = Answer(text="one\ntwo\tthree", usage={"input_tokens": 7}, finish_reason="length", model="m", source="x")
    text = Page(answer._repr_html_()).text
    assert "one\ntwo     three" in text
    assert "length" in text
    assert "7 input tokens" in text
    assert '"legs": 4' in Page(every_result("x")["answer with parsed"]._repr_html_()).text


def test_what_embeddings_show():
    failures = [vk.Failure(f"bad{i}.png", i, SourceError("no such file")) for i in range(9)]
    vectors = np.eye(10, dtype=np.float32)
    sources = [f"/a/very/long/path/to/a/folder/of/pictures/number{i}.png" for i in range(10)]
    found = Embeddings(vectors=vectors, sources=sources, failures=failures, model="m", source="19 images")
    text = Page(found._repr_html_()).text
    assert "10 × 10 float32" in text
    assert "…" in text
    assert "number7.png" in text
    assert "number8.png" not in text
    assert "… 2 more" in text
    assert "no such file" in text
    assert "… 1 more failed" in text


def test_what_detections_list():
    many = Detections(
        boxes_xyxy=[[0, 0, 1, 1]] * 20, labels=["cup"] * 20, scores=[0.5] * 20, size_wh=(9, 9), model="m", source="x"
    )
    text = Page(many._repr_html_()).text
    assert "20 objects" in text
    assert text.count("cup 0.50") == 12
    assert "… 8 more" in text
