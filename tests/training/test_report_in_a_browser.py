"""The report of a training in a real browser, wide and narrow, light and dark: it renders, and asks for nothing."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data

import visionkit as vk
from support.browser import browse, measured

HARM = "<script>document.title='ran'</script><img src=/harm.png onerror=\"document.title='ran'\">" + "x" * 300
MEASURE = """<!doctype html><meta charset=utf-8><link rel=icon href="data:,"><title>quiet</title>
<body style="margin:0"><iframe src="/report" style="border:0;width:WIDTHpx;height:9000px"></iframe><script>
onload = () => {
  const page = document.querySelector("iframe").contentDocument;
  document.body.dataset.wide = page.documentElement.scrollWidth;
  document.body.dataset.room = page.documentElement.clientWidth;
  document.body.dataset.broken = [...page.images].filter(i => !i.naturalWidth).length;
  document.body.dataset.images = page.images.length;
  document.body.dataset.title = page.title.replaceAll(" ", "_");
};</script>"""
"""The report itself lets no script run, so the page around it measures it."""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    faces = (skimage.data.lfw_subset() * 255).round().astype(np.uint8)
    pairs = [(picture, HARM if i < 100 else "no face") for i, picture in enumerate(faces)]
    run = vk.train([*pairs, (b"nothing", "no face")], epochs=2, out=tmp_path_factory.mktemp("run") / "faces")
    assert run.worst
    return (run.folder / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_in_chromium(width, dark, tmp_path, report, serve_pages):
    url, asked = serve_pages({"/": MEASURE.replace("WIDTH", str(width)), "/report": report})
    picture = tmp_path / "report.png"
    dom, log = browse(url, tmp_path, (width, 4000), milliseconds=3000, dark=dark, picture=picture)
    assert asked == ["/", "/report"]
    assert "<title>quiet</title>" in dom
    assert "CONSOLE" not in log
    found = measured(dom)
    assert found["title"] == "Training_report:_faces"
    assert found["broken"] == "0"
    assert int(found["images"]) > 10
    assert found["wide"] == found["room"] == str(width)  # nothing is cut off or to be scrolled to
    shown = np.asarray(vk.load_image(picture))
    assert (shown[0, 0].mean() < 60) == dark
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 500
