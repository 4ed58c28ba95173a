"""`visionkit train`, as people run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import visionkit as vk
from support import commands

COMMAND = [sys.executable, "-m", "visionkit", "train"]


@pytest.fixture
def pictures(tmp_path):
    """A folder of red and blue pictures, a broken one, and names that could harm a terminal."""
    numbers = np.random.default_rng(0)
    for channel, label in ((0, "red\u202e"), (2, "blue")):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(8):
            picture = numbers.integers(0, 60, (8, 8, 3), dtype=np.uint8)
            picture[..., channel] += 150
            vk.load_image(picture).save(tmp_path / "data" / label / f"{i}.png")
    (tmp_path / "data" / "blue" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path / "data"


def run(*arguments):
    return commands.run("train", *arguments)


def test_from_scratch(pictures, tmp_path):
    options = (pictures, "--out", tmp_path / "run", "--epochs", 2, "--batch-size", 4, "--augment", "light")
    done = commands.run_alone("train", *options)
    assert done.returncode == 1, done.stderr  # a picture was left out
    assert "TrainingRun(2 epochs, 2 classes: accuracy" in done.stdout
    assert f"{pictures / 'blue' / 'broken.png'}\n  left out:" in done.stderr
    assert vk.load_model(tmp_path / "run").labels == ("blue", "red\u202e")
    again = run(*options, "--resume")
    assert again.stdout == done.stdout


@pytest.mark.slow
def test_fine_tuned(pictures, tmp_path):
    done = run(
        pictures,
        "--out",
        tmp_path / "run",
        "--fine-tune",
        "last:1",
        "--epochs",
        1,
        "--learning-rate",
        "1e-3",
        "--validation",
        pictures,
    )
    assert "accuracy 100.0%" in done.stdout, done.stderr


def test_wrong_usage(pictures, tmp_path):
    done = run(pictures, "--out", tmp_path / "run", "--fine-tune", "most")
    assert done.returncode == 2
    assert done.stderr.startswith("visionkit: train='most' is not offered; choose 'head', 'all', 'lora', or 'last:N'")
    done = run(tmp_path / "nowhere", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "no such" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_ctrl_c(pictures, tmp_path):
    command = [*COMMAND, str(pictures), "--out", str(tmp_path / "run"), "--epochs", "100000"]
    restore = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    training = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=restore)  # noqa: PLW1509
    history = tmp_path / "run" / "history.jsonl"
    while not history.exists() or not history.read_text():
        assert training.poll() is None
        time.sleep(0.1)
    os.kill(training.pid, signal.SIGINT)
    said = training.communicate()[1]
    assert training.returncode == 130
    assert "training was stopped; the checkpoint of epoch" in said
    assert "go on with resume=True" in said
    assert json.loads(history.read_text().splitlines()[0])["epoch"] == 1
