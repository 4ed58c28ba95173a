"""A real browser: pages that are served on the loopback address, and what Chromium makes of them."""

from __future__ import annotations

import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

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


@pytest.fixture
def serve_pages():
    """Gives the function that serves pages, path → HTML; it returns their address and the list of what is asked for."""
    asked, served = [], {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200 if self.path in served else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(served.get(self.path, "").encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()

    def start(pages):
        served.update(pages)
        return f"http://127.0.0.1:{server.server_port}/", asked

    yield start
    server.shutdown()
    thread.join()
    server.server_close()


def browse(url, folder, size_wh, *, milliseconds=2000, dark=False, picture=None):
    """The page's elements after its scripts had that much of their own time, and what the browser logged."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install -y chromium")
    width, height = size_wh
    command = [chromium, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}"]
    command += ["--blink-settings=preferredColorScheme=0"] if dark else []
    command += [f"--screenshot={picture}"] if picture else []
    command += [f"--virtual-time-budget={milliseconds}", "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def measured(dom):
    """What a page's script wrote into its body's `data-` attributes: name → text."""
    body = dom[dom.index("<body") :].split(">")[0]
    pairs = (item.split("=") for item in body.split() if item.startswith("data-"))
    return {name.removeprefix("data-"): value.strip('"') for name, value in pairs}
