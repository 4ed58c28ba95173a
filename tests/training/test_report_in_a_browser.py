"""The report of a training in a real browser, wide and narrow, light and dark: it renders, and asks for nothing."""

from __future__ import annotations

import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import skimage.data

import visionkit as vk

HARM = "<script>document.title='ran'</script><img src=/harm.png onerror=\"document.title='ran'\">" + "x" * 300
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


@pytest.fixture
def served(report, width):
    """The address of the page that measures, and the list of all that is asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            pages = {"/": MEASURE.replace("WIDTH", str(width)), "/report": report}
            self.send_response(200 if self.path in pages else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(pages.get(self.path, "").encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_in_chromium(width, dark, tmp_path, served):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install -y chromium")
    url, asked = served
    picture = tmp_path / "report.png"
    command = [chromium, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},4000"]
    command += ["--blink-settings=preferredColorScheme=0"] if dark else []
    command += ["--virtual-time-budget=3000", "--dump-dom", f"--screenshot={picture}", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert asked == ["/", "/report"]
    assert "<title>quiet</title>" in done.stdout
    assert "CONSOLE" not in done.stderr
    body = done.stdout[done.stdout.index("<body") :].split(">")[0]
    data = dict(item.split("=") for item in body.split() if item.startswith("data-"))
    assert data["data-title"] == '"Training_report:_faces"'
    assert data["data-broken"] == '"0"'
    assert int(data["data-images"].strip('"')) > 10
    assert data["data-wide"] == data["data-room"] == f'"{width}"'  # nothing is cut off or to be scrolled to
    shown = np.asarray(vk.load_image(picture))
    assert (shown[0, 0].mean() < 60) == dark
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 500
