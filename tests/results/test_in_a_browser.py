"""What notebooks show, in a real browser: nothing runs, nothing is fetched, and it fits a desktop and a phone."""

from __future__ import annotations

import numpy as np
import pytest

import visionkit as vk
from support.browser import browse, measured
from support.results import HOSTILE, every_result
from visionkit.results import Classification, Detections

HARM = (
    "<script>document.title='ran'</script><img src='/harm.png' onerror=\"document.title='ran'\">"
    "<script>nothing.there()</script><svg onload=\"document.title='ran'\"></svg>"
    "<link rel=stylesheet href=/harm.css></div></div>\"'&amp;"
)


def page_of(results):
    """A page such as a notebook's: one result below the other, and a script of the test that measures it."""
    body = "\n<hr>\n".join(result._repr_html_() for result in results)
    return (
        "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        "<link rel=icon href='data:,'><title>quiet</title><body style='margin:12px;font-family:sans-serif'>"
        f"{body}<script>document.body.dataset.wide = document.documentElement.scrollWidth;"
        "document.body.dataset.room = document.documentElement.clientWidth;"
        "document.body.dataset.broken = [...document.images].filter(i => !i.naturalWidth).length;</script>"
    )


def all_results(photos):
    """All kinds about a real picture, with harmless words and with hostile ones."""
    cat, astronaut = str(photos[1]), str(photos[0])
    labels = {"tiger cat": 0.386, "Egyptian cat": 0.342, "tabby": 0.182, "lynx, a wild cat of the north": 0.017}
    good = every_result(cat, "a cat that lies on a sofa and looks at the window, where it rains")
    good["classification"] = Classification.from_scores(labels, model="visionkit:efficientnet_lite0", source=cat)
    good["detections"] = Detections(
        boxes_xyxy=[[150, 20, 400, 500], [10, 300, 90, 500]],
        labels=["person", "flag"],
        scores=[0.97, 0.61],
        size_wh=vk.load_image(astronaut).size,
        model="transformers:PekingU/rtdetr_r18vd_coco_o365",
        source=astronaut,
    )
    good["embeddings"] = vk.embed([*photos, "missing.png"], model="colors:mean", on_error="return")
    return [*good.values(), *every_result("gone.png", HARM).values(), *every_result(HARM, HOSTILE).values()]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_all_results_in_chromium(width, tmp_path, serve_pages, photos):
    url, asked = serve_pages({"/": page_of(all_results(photos))})
    picture = tmp_path / "results.png"
    dom, log = browse(url, tmp_path, (width, 2600), picture=picture)
    assert asked == ["/"]
    assert "<title>quiet</title>" in dom
    assert dom.count("<script") == 1  # the test's own
    assert "CONSOLE" not in log
    found = measured(dom)
    assert found["broken"] == "0"
    assert found["wide"] == found["room"]  # nothing is cut off or to be scrolled to
    shown = np.asarray(vk.load_image(picture))
    assert shown.shape[1] == width
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 1000


@pytest.mark.slow
def test_this_browser_would_run_it_and_fetch_it(tmp_path, serve_pages):
    url, asked = serve_pages({"/": f"<!doctype html><title>quiet</title><link rel=icon href='data:,'><body>{HARM}"})
    dom, log = browse(url, tmp_path, (800, 2600))
    assert "<title>ran</title>" in dom
    assert {"/harm.png", "/harm.css"} <= set(asked)
    assert "nothing is not defined" in log
