"""What notebooks show, in a real browser: nothing runs, nothing is fetched, and it fits a desktop and a phone."""

from __future__ import annotations

import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import visionkit as vk
from support.results import HOSTILE, every_result
from visionkit.results import Classification, Detections

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
]
HARM = (
    "<script>document.title='ran'</script><img src='/harm.png' onerror=\"document.title='ran'\">"
    "<script>nothing.there()</script><svg onload=\"document.title='ran'\"></svg>"
    "<link rel=stylesheet href=/harm.css></div></div>\"'&amp;"
)


@pytest.fixture
def serve():
    """A server of one page on loopback: gives the function that starts it, and notes every path that is asked for."""
    asked = []
    body = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            if self.path == "/":
                self.wfile.write(body[0].encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def start(page):
        body[:] = [page]
        asked.clear()
        return f"http://127.0.0.1:{server.server_port}/", asked

    yield start
    server.shutdown()
    thread.join()
    server.server_close()


def browse(url, tmp_path, width, *, picture=None):
    """The page's elements after its scripts had their time, and what the browser logged."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install -y chromium")
    command = [chromium, *FLAGS, f"--user-data-dir={tmp_path / f'profile-{width}'}", f"--window-size={width},2600"]
    command += ["--virtual-time-budget=2000", "--dump-dom", *([f"--screenshot={picture}"] if picture else []), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


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
def test_all_results_in_chromium(width, tmp_path, serve, photos):
    url, asked = serve(page_of(all_results(photos)))
    picture = tmp_path / "results.png"
    dom, log = browse(url, tmp_path, width, picture=picture)
    assert asked == ["/"]
    assert "<title>quiet</title>" in dom
    assert dom.count("<script") == 1  # the test's own
    assert "CONSOLE" not in log
    data = dict(item.split("=") for item in dom[dom.index("<body") :].split(">")[0].split() if item.startswith("data-"))
    assert data["data-broken"] == '"0"'
    assert data["data-wide"] == data["data-room"]  # nothing is cut off or to be scrolled to
    shown = np.asarray(vk.load_image(picture))
    assert shown.shape[1] == width
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 1000


@pytest.mark.slow
def test_this_browser_would_run_it_and_fetch_it(tmp_path, serve):
    url, asked = serve(f"<!doctype html><title>quiet</title><link rel=icon href='data:,'><body>{HARM}")
    dom, log = browse(url, tmp_path, 800)
    assert "<title>ran</title>" in dom
    assert {"/harm.png", "/harm.css"} <= set(asked)
    assert "nothing is not defined" in log
