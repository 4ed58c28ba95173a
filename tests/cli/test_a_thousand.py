"""A folder as there are some: a thousand pictures, and among them what is none, what is broken, and what would harm."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

import visionkit as vk

CORRUPT = (0, 1, 250, 499, 500, 731, 999)
WHY = {  # the name's beginning → the error, and what its message says
    "bomb": ("ImageTooLargeError", "40000×40000 is 1600000000 pixels"),
    "empty": ("ImageDecodeError", "empty"),
    "pipe": ("SourceError", "not a regular file"),
    "text": ("ImageDecodeError", "no picture in a format that is decoded"),
}


def bomb(path):
    """A valid PNG of 40,000×40,000 white pixels, 1 bit each: 200 MB of rows in about 200 KB."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = b"\0" + b"\xff" * 5000
    data = b"".join(packer.compress(row * 400) for _ in range(100)) + packer.flush()
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """1,000 pictures of one colour each, 7 of them cut off, and the four that are none."""
    where = tmp_path_factory.mktemp("thousand")
    for number in range(1000):
        path = where / f"{number:04}.{('jpg', 'png')[number % 2]}"
        colour = [0, 0, 0]
        colour[number % 3] = 200
        noise = np.random.default_rng(number).integers(0, 50, (24, 24, 3))
        Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(path)
        if number in CORRUPT:
            path.write_bytes(path.read_bytes()[:-200])
    bomb(where / "bomb.png")
    (where / "empty.png").write_bytes(b"")
    (where / "text.jpg").write_text("This is no picture.\n" * 20)
    os.mkfifo(where / "pipe.png")
    return where


def expected(folder):
    """(source, the right label, or None for what must fail), in order, the FIFO last: it is no file of the folder."""
    good = [
        (str(path), None if not path.stem.isdigit() or int(path.stem) in CORRUPT else int(path.stem) % 3)
        for path in sorted(folder.iterdir())
        if path.name != "pipe.png"
    ]
    labels = ("red", "green", "blue", None)
    return [*((source, labels[3 if n is None else n]) for source, n in good), (str(folder / "pipe.png"), None)]


def check_failure(source, error, message):
    name = os.path.basename(source)  # noqa: PTH119 - a string in, a string out
    kind, reason = WHY.get(name.split(".")[0], ("ImageDecodeError", ""))
    assert (error, name in message) == (kind, True), message
    assert reason in message


@pytest.mark.slow
@pytest.mark.parametrize("lazily", [False, True])
def test_every_result_in_order(folder, lazily):
    sources = [*vk.find_images(folder), folder / "pipe.png"]
    given = iter(sources) if lazily else sources
    results = list(vk.classify(given, model="colors:mean", on_error="return"))
    wanted = expected(folder)
    assert [result.source for result in results] == [source for source, _ in wanted]
    assert len(results) == 1004
    for index, (result, (source, label)) in enumerate(zip(results, wanted, strict=True)):
        if label is None:
            assert isinstance(result, vk.Failure), source
            assert result.index == index
            check_failure(source, type(result.error).__name__, str(result.error))
        else:
            assert not isinstance(result, vk.Failure), result
            assert result.label == label
    assert sum(isinstance(result, vk.Failure) for result in results) == len(CORRUPT) + 4


@pytest.mark.slow
def test_the_command_prints_the_good_ones(folder):
    command = [sys.executable, "-m", "visionkit", "classify", folder, folder / "pipe.png", "--model", "colors:mean"]
    done = subprocess.run([*command, "--top-k", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    shown = list(zip(lines[::2], [line.split()[0] for line in lines[1::2]], strict=True))
    wanted = expected(folder)
    assert shown == [(source, label) for source, label in wanted if label]
    assert done.stderr.splitlines()[::2] == [source for source, label in wanted if label is None]
    assert "Traceback" not in done.stderr
    as_json = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert as_json.returncode == 1
    records = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert [record["source"] for record in records] == [source for source, _ in wanted]
    for record, (source, label) in zip(records, wanted, strict=True):
        if label is None:
            check_failure(source, record["error"], record["message"])
        else:
            assert record["label"] == label
