"""Ctrl-C at any moment of a training: the last step that was whole is kept, and nothing that is half."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import visionkit as vk
from support.colours import colours
from visionkit.training import Recipe

RICH = Recipe(ema=0.9, early_stopping=3, accumulate=2, label_smoothing=0.1)


class Pressing(nn.Module):
    """Counts statistics, draws numbers, and presses Ctrl-C after a forward pass: at learning, or at measuring."""

    def __init__(self, learning=0, measuring=0, pressed=None, seconds=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.head = nn.Linear(4, 2)
        self.moments = {True: learning, False: measuring}
        self.seen = {True: 0, False: 0}
        self.pressed = pressed
        self.seconds = seconds

    def __deepcopy__(self, memo):
        twin = type(self)(self.moments[True], self.moments[False], self.pressed, self.seconds)
        twin.load_state_dict(self.state_dict())
        return twin

    def forward(self, pixels):
        time.sleep(self.seconds)
        logits = self.head(self.layers(pixels))
        self.seen[self.training] += 1
        if self.seen[self.training] == self.moments[self.training]:
            if self.pressed is not None:
                self.pressed.append(True)
            raise KeyboardInterrupt
        return logits


def train(out=None, model=None, **options):
    """Three epochs of two steps, each of two batches."""
    settings = {"epochs": 3, "batch_size": 3, "augment": "light", "recipe": RICH, **options}
    return vk.train(colours(), model=model or Pressing(), out=out, **settings)


def weights(run):
    return run.model.module.state_dict()


@pytest.fixture(scope="module")
def whole():
    return train()


def check_resumed(out, whole):
    run = train(out, resume=True)
    assert list(weights(run)) == list(weights(whole))
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(run).items())
    for figure in ("loss", "validation_loss", "accuracy"):
        assert [getattr(r, figure) for r in run.history] == [getattr(r, figure) for r in whole.history]
    lines = (out / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]


def kept(out):
    state = json.loads((out / "checkpoint" / "state.json").read_text())
    history = (out / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in history] == state["history"]
    return state["epoch"], state["step"], len(history)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ({"learning": 1}, (0, 0, 0)),
        ({"learning": 3}, (0, 1, 0)),  # within the second step of the first epoch
        ({"learning": 4}, (0, 1, 0)),  # and in its second half: statistics and loss have grown twice
        ({"learning": 6}, (1, 0, 1)),
        ({"learning": 8}, (1, 1, 1)),
        ({"measuring": 2}, (1, 2, 1)),  # the second epoch is learnt, and has no figures yet
    ],
)
def test_the_last_whole_step_is_kept(tmp_path, whole, moment, expected):
    out = tmp_path / "run"
    where = f"epoch {expected[0] + 1}, step {expected[1]}"
    with pytest.raises(KeyboardInterrupt, match=f"{where}, is kept .* resume=True"):
        train(out, Pressing(**moment))
    assert kept(out) == expected
    check_resumed(out, whole)


def test_half_a_step_is_not_kept(tmp_path, whole, monkeypatch):
    """While the weights are written there is nothing whole: the checkpoint before stays."""
    step, seen = torch.optim.AdamW.step, []

    def pressed(self, *args, **options):
        step(self, *args, **options)
        seen.append(True)
        if len(seen) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", pressed)
        with pytest.raises(KeyboardInterrupt, match="the checkpoint of epoch 1, step 2, is kept"):
            train(tmp_path / "run")
    assert kept(tmp_path / "run") == (0, 2, 1)
    check_resumed(tmp_path / "run", whole)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_a_second_ctrl_c_or_a_full_disk_leaves_the_checkpoint_before(tmp_path, whole, monkeypatch, caplog, error):
    pressed, fsync = [], os.fsync

    def failing(descriptor):
        if pressed:
            raise error
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with (
            caplog.at_level(logging.WARNING, "visionkit"),
            pytest.raises(KeyboardInterrupt, match="the checkpoint of epoch 1, step 2, is kept"),
        ):
            train(tmp_path / "run", Pressing(learning=8, pressed=pressed))
    assert any("No space left" in message for message in caplog.messages) == isinstance(error, OSError)
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]
    check_resumed(tmp_path / "run", whole)


def train_slowly(out):
    train(Path(out), Pressing(seconds=0.05))


@pytest.mark.slow
def test_a_real_signal(tmp_path, whole):
    out = tmp_path / "run"
    code = (  # a shell's background job inherits an ignored signal
        "import signal, sys, test_interrupted; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "test_interrupted.train_slowly(sys.argv[1])"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", code, str(out)], stderr=subprocess.PIPE, text=True, env=env) as child:
        while not (out / "history.jsonl").exists():
            assert child.poll() is None
            time.sleep(0.01)
        time.sleep(0.03)
        child.send_signal(signal.SIGINT)
        said = child.communicate(timeout=60)[1]
    last = said.splitlines()[-1]
    assert last.startswith("KeyboardInterrupt: training was stopped; the checkpoint of epoch ")
    assert child.returncode != 0
    assert kept(out)[2] < 3
    check_resumed(out, whole)
