"""Repositories of a hub: fetched from a real server on this machine, announced, forbidden, unreachable."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from urllib.parse import urlparse

import pytest

import visionkit as vk
from visionkit.errors import ModelNotFoundError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GOOD, CODE = "somebody/tiny", "somebody/code"
SCRIPT = """
import json, sys
from visionkit.errors import VisionkitError
from visionkit.tasks.generate import generate
for name in sys.argv[1:]:
    try:
        made = generate("cat", model=name, steps=1, seed=0)
        print(json.dumps([made.model, made[0].recipe.commit, made[0].recipe.steps]))
    except VisionkitError as err:
        print(json.dumps([type(err).__name__, str(err)]))
"""


class Hub(http.server.BaseHTTPRequestHandler):
    """The three kinds of request of huggingface_hub: what a repository holds, its file list, a file."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urlparse(self.path).path
        self.server.asked.append((self.command, path))
        repository = next((r for r in (GOOD, CODE) if f"/{r}/" in f"{path}/"), None)
        folder = self.server.root / (repository or "none")
        files = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
        if path.startswith(f"/api/models/{repository}/tree/"):
            listing = [{"type": "file", "path": n, "size": p.stat().st_size, "oid": _oid(p)} for n, p in files.items()]
            self.answer(json.dumps(listing).encode())
        elif path.startswith(f"/api/models/{repository}"):
            siblings = [{"rfilename": name, "size": p.stat().st_size} for name, p in files.items()]
            info = {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": siblings, "tags": [],
                    "private": False, "downloads": 0, "likes": 0, "gated": False, "disabled": False}  # fmt: skip
            self.answer(json.dumps(info).encode())
        elif path.startswith(f"/{repository}/resolve/") and path.split("/", 5)[5] in files:
            file = files[path.split("/", 5)[5]]
            self.answer(file.read_bytes(), {"ETag": f'"{_oid(file)}"', "X-Repo-Commit": COMMIT})
        else:
            self.answer(b"{}", {"X-Error-Code": "RepoNotFound"}, status=404)

    def answer(self, body, headers=None, status=200):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def _oid(path):
    return hashlib.sha1(path.read_bytes()).hexdigest()  # noqa: S324 - git's


@pytest.fixture
def hub(diffusion_folder, tmp_path):
    """Holds a good pipeline, and the same with a component of its own code."""
    shutil.copytree(diffusion_folder, tmp_path / GOOD)
    shutil.copytree(diffusion_folder, tmp_path / CODE)
    (tmp_path / GOOD / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"x" * 10**7)
    (tmp_path / GOOD / "big.ckpt").write_bytes(b"x")
    index = json.loads((tmp_path / CODE / "model_index.json").read_text())
    (tmp_path / CODE / "model_index.json").write_text(json.dumps({**index, "unet": ["mine", "MyUNet"]}))
    (tmp_path / CODE / "unet" / "mine.py").write_text("raise SystemExit('ran')")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.root, server.asked = tmp_path, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(*names, port, home, **environment):
    """The answers, and the log, of a fresh process whose hub is on this machine."""
    variables = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
    variables.update({"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(home), **environment})
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names], capture_output=True, text=True, check=True, env=variables, timeout=250
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.slow
def test_repositories_are_announced_fetched_at_one_commit_and_then_used_without_a_network(hub, tmp_path):
    names = [f"diffusers:{GOOD}", f"diffusers:{CODE}", "diffusers:somebody/other@v2"]
    (good, code, other), log = ask(*names, port=hub.server_port, home=tmp_path / "home")
    assert good == [names[0], COMMIT, 1]
    files = [p for p in (tmp_path / GOOD).glob("*/*.safetensors") if ".fp16." not in p.name]
    size = f"{sum(p.stat().st_size for p in files) / 1e6:.0f} MB"
    assert f"visionkit: fetching {names[0]} ({size}) from Hugging Face, repository {GOOD}" in log
    fetched = [path for method, path in hub.asked if method == "GET" and f"{GOOD}/resolve/" in path]
    assert f"/{GOOD}/resolve/{COMMIT}/unet/diffusion_pytorch_model.safetensors" in fetched
    assert not any("fp16" in path or "ckpt" in path for path in fetched)

    assert code[0] == "ModelLoadError"
    assert "the component 'unet' is of 'mine', which is neither diffusers nor transformers" in code[1]
    touched = {path.rsplit("/", 1)[1] for _, path in hub.asked if f"{CODE}/resolve/" in path}
    assert touched == {"model_index.json"}  # refused before its weights were fetched

    assert other[0] == "ModelNotFoundError"
    assert other[1] == (
        "diffusers:somebody/other@v2 could not be fetched from Hugging Face, repository somebody/other "
        "(RepositoryNotFoundError); fetch it ahead: hf download somebody/other --revision v2; or give a local folder"
    )

    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        (good, code), log = ask(names[0], "diffusers:somebody/third", port=port, home=tmp_path / "home")
    assert good == [names[0], COMMIT, 1]
    assert f"fetching {names[0]}" not in log
    assert code[0] == "ModelNotFoundError"
    assert "diffusers:somebody/third could not be fetched from Hugging Face, repository somebody/third (" in code[1]
    assert "fetch it ahead: hf download somebody/third; or give a local folder" in code[1]


@pytest.mark.slow
def test_a_repository_that_is_here_in_part_is_completed_at_the_one_commit(hub, tmp_path):
    name, home = f"diffusers:{GOOD}", tmp_path / "home"
    (first,), _ = ask(name, port=hub.server_port, home=home)
    resolved = [path for _, path in hub.asked if "/resolve/" in path]
    assert first == [name, COMMIT, 1]
    assert all(path.startswith(f"/{GOOD}/resolve/{COMMIT}/") for path in resolved)  # a branch may move

    file = "unet/diffusion_pytorch_model.safetensors"
    link = home / "hub" / f"models--{GOOD.replace('/', '--')}" / "snapshots" / COMMIT / file
    link.resolve().unlink()
    link.unlink(missing_ok=True)
    hub.asked.clear()
    (again,), log = ask(name, port=hub.server_port, home=home)
    assert again == first
    assert f"fetching {name}" in log
    fetched = [path for method, path in hub.asked if method == "GET" and "/resolve/" in path]
    assert fetched == [f"/{GOOD}/resolve/{COMMIT}/{file}"]


@pytest.mark.parametrize("variable", ["VISIONKIT_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline(variable, monkeypatch):
    monkeypatch.setenv(variable, "1")
    message = (
        f"diffusers:somebody/tiny@v1 is not on this machine and {variable} forbids to fetch it from Hugging Face, "
        "repository somebody/tiny; fetch it ahead: hf download somebody/tiny --revision v1; or give a local folder"
    )
    with pytest.raises(ModelNotFoundError, match=message):
        vk.load_model("diffusers:somebody/tiny@v1")
