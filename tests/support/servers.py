"""Two real servers on the loopback address: llama.cpp with a tiny random model, and one that speaks as we tell it."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

SERVERS = Path(__file__).parents[1] / "servers"
KEY = "sk-canary-3f9c7a51e8d24b06"


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    """The address of a real llama.cpp server, without `/v1`."""
    folder = tmp_path_factory.mktemp("gguf")
    subprocess.run([sys.executable, SERVERS / "make_tiny_gguf.py", folder], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (folder / "server.log").open("wb")
    command = [sys.executable, SERVERS / "serve.py", folder, str(port)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    try:
        said = b""
        while not said.startswith(b"listening"):
            said = process.stdout.readline()
            assert said, f"the server ended: {(folder / 'server.log').read_text()}"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()  # it ends by itself then
        process.stdout.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


@dataclass
class Seen:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict

    def pictures(self):
        """The JPEG bytes of the uploads, wherever this language puts them."""
        turn = (self.body.get("input") or self.body["messages"])[-1]["content"]
        found = []
        for part in turn:
            if part["type"] == "image":
                found.append(part["source"]["data"])
            elif part["type"] == "input_image":
                found.append(part["image_url"].partition("base64,")[2])
            elif part["type"] == "image_url":
                found.append(part["image_url"]["url"].partition("base64,")[2])
        return [base64.b64decode(text, validate=True) for text in found]

    def image(self):
        return Image.open(BytesIO(self.pictures()[0]))


@dataclass
class Reply:
    """What to answer instead of a good reply."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: object = None
    how: str = "whole"  # or "cut" the connection, "hang" without a word, "drip" for ever


class Vendor:
    """A server that speaks Responses, chat completions and Messages."""

    def __init__(self):
        self.seen = []
        self.plan = deque()
        self.text = lambda seen: "a cat"  # what a good reply says
        self.finish = {}  # what else is in a good reply
        self.at_once = self.most_at_once = 0
        self.barrier = None
        self.lock = threading.Lock()
        self.over = threading.Event()
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                vendor.answer(self, Seen(self.path, {k.lower(): v for k, v in self.headers.items()}, body))

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def fail(self, status, *, times=1, headers=None, body=None, how="whole"):
        self.plan.extend([Reply(status, headers or {}, body, how)] * times)

    def answer(self, handler, seen):
        with self.lock:
            self.seen.append(seen)
            reply = self.plan.popleft() if self.plan else None
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.barrier is not None:
                self.barrier.wait()
                time.sleep(0.05)  # a fourth would arrive meanwhile
            body = reply.body if reply else good(seen.path, self.text(seen), self.finish)
        finally:
            with self.lock:
                self.at_once -= 1
        self.send(handler, reply or Reply(), body)

    def send(self, handler, reply, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.close_connection = True
        if reply.how == "hang":
            self.over.wait(30)
            return
        if reply.how == "cut":
            return
        handler.send_response(reply.status)
        handler.send_header("connection", "close")
        for name, value in {"content-type": "application/json", **reply.headers}.items():
            handler.send_header(name, value)
        if reply.how == "drip":
            handler.end_headers()
            try:
                while not self.over.wait(0.02):
                    handler.wfile.write(b" ")
            except OSError:  # the client hung up, as it should
                return
            return
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)


def good(path, text, finish):
    """A reply in the language of the path, with numbers that tell the languages' kinds of tokens apart."""
    if path.endswith("/chat/completions"):
        choice = {
            "index": 0,
            "finish_reason": finish.get("finish_reason", "stop"),
            "message": {"role": "assistant", "content": text, "refusal": finish.get("refusal")},
        }
        usage = {
            "prompt_tokens": 100,
            "completion_tokens": 7,
            "total_tokens": 107,
            "prompt_tokens_details": {"cached_tokens": 40, "image_tokens": 85},
        }
        return {
            "id": "c1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }
    if path.endswith("/responses"):
        kind = "refusal" if finish.get("refusal") else "output_text"
        said = {"type": kind, kind.removeprefix("output_"): finish.get("refusal") or text, "annotations": []}
        usage = {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 0},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 3},
            "total_tokens": 107,
        }
        return {
            "id": "r1",
            "object": "response",
            "created_at": 1,
            "model": "m",
            "status": "incomplete" if finish.get("incomplete") else "completed",
            "incomplete_details": {"reason": finish["incomplete"]} if finish.get("incomplete") else None,
            "error": finish.get("error"),
            "output": [
                {"id": "t1", "type": "reasoning", "summary": []},
                {"id": "m1", "type": "message", "role": "assistant", "status": "completed", "content": [said]},
            ],
            "usage": usage,
        }
    return {
        "id": "a1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": text}],
        "stop_reason": finish.get("stop_reason", "end_turn"),
        "stop_sequence": None,
        "usage": {"input_tokens": 60, "cache_read_input_tokens": 40, "output_tokens": 7},
    }


@pytest.fixture
def vendor():
    server = Vendor()
    yield server
    server.close()


@pytest.fixture
def connect(vendor):
    """A model of each language, `connect("openai")`, at the server that speaks as we tell it."""
    import visionkit as vk

    models = []

    def make(prefix, **options):
        base_url = vendor.url + ("" if prefix == "anthropic" else "/v1")
        models.append(vk.load_model(f"{prefix}:some-model", **{"api_key": KEY, "base_url": base_url, **options}))
        return models[-1]

    yield make
    close_when_answered(*models)


def close_when_answered(*models):
    """Closes hosted models whose iterators may have been left, with questions still under way."""
    for thread in threading.enumerate():
        if thread.name.startswith("visionkit-hosted"):
            thread.join(30)
    for model in models:
        model.close()
