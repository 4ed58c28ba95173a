"""A save that is interrupted anywhere leaves the old folder or the new one, never between, and nothing beside."""

from __future__ import annotations

import errno
import itertools
import os
import random
import time
from pathlib import Path

import pytest
import torch

import visionkit as vk
from support.faults import fail_exchanges
from support.killed import Workers
from visionkit.cnn import SimpleCNN
from visionkit.errors import SaveError
from visionkit.models import atomic
from visionkit.models.verify import verify
from visionkit.models.wrap import ModuleClassifier

SMALL = vk.Preprocess(size_wh=(16, 16), resize="squash")
CALLS = ("open", "write", "fsync", "replace", "renameat2")


def named(label):
    torch.manual_seed(0)
    network = SimpleCNN(2)
    return ModuleClassifier(
        network,
        labels=[label, "other"],
        name=label,
        preprocess=SMALL,
        features=None,
        device=torch.device("cpu"),
        speed="exact",
        built_by=network.architecture(),
    )


class Fault:
    """Lets the first n - 1 calls of a kind through, and fails the n-th."""

    def __init__(self, monkeypatch, call, number, code, within):
        self.left, self.failed = number, False
        if call == "renameat2":
            fail_exchanges(monkeypatch, self, code)
            return
        original = getattr(os, call)

        def wrapped(*args, **options):
            first = args[0] if args else None
            if call in ("write", "fsync") or str(within) in str(first):  # not the pictures of the proof
                self.left -= 1
                if self.left == 0:
                    self.failed = True
                    raise OSError(code, os.strerror(code))
            return original(*args, **options)

        monkeypatch.setattr(os, call, wrapped)


@pytest.fixture(params=["exchange", "move aside"])
def way(request, monkeypatch):
    """Both ways into a place that is taken: one step where the system can, else two renames."""
    if request.param == "move aside":
        monkeypatch.setattr(atomic, "_renameat2", lambda: None)
    elif atomic._renameat2() is None:
        pytest.skip("this system cannot exchange")
    return request.param


def save_with_fault(model, folder, *fault):
    """Whether the fault was met; a save that meets it fails, with the system's reason in the message."""
    with pytest.MonkeyPatch.context() as patch:
        injected = Fault(patch, *fault)
        reason = ""
        try:
            vk.save_model(model, folder)
        except (OSError, SaveError) as err:  # the latter where the proof cannot read what was written
            reason = str(err)
    assert not reason or os.strerror(fault[2]) in reason
    assert injected.failed or not reason
    return injected.failed


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
@pytest.mark.parametrize("call", CALLS)
def test_an_error_at_every_call(tmp_path, way, call, code):
    folder = tmp_path / "model"
    vk.save_model(named("old"), folder)
    new, failures = named("new"), 0
    while save_with_fault(new, folder, call, failures + 1, code, tmp_path):
        failures += 1
        assert os.listdir(tmp_path) == ["model"], f"{call} number {failures}"
        label = vk.load_model(folder).labels[0]
        assert label in ("old", "new"), failures
        if label == "new":  # it failed when all was done
            vk.save_model(named("old"), folder)
    assert os.listdir(tmp_path) == ["model"]
    assert vk.load_model(folder).labels[0] == "new"
    renames, exchanges = (2, 0) if way == "move aside" else (0, 1)
    assert failures >= {"open": 6, "write": 5, "fsync": 6, "replace": renames, "renameat2": exchanges}[call]


@pytest.mark.parametrize("call", CALLS)
def test_an_error_at_every_call_of_a_first_save(tmp_path, call):
    folder = tmp_path / "deep" / "model"
    model, number = named("new"), 1
    while save_with_fault(model, folder, call, number, errno.ENOSPC, tmp_path):
        assert os.listdir(tmp_path / "deep") == [], f"{call} number {number}"
        number += 1
    assert vk.load_model(folder).labels[0] == "new"


def test_a_folder_that_was_left_between_two_renames_is_found_again(tmp_path):
    folder = vk.save_model(named("old"), tmp_path / "model")
    folder.rename(tmp_path / ".model.0123456789ab.old")
    assert vk.load_model(folder).labels[0] == "old"
    assert os.listdir(tmp_path) == ["model"]


def test_what_killed_saves_left_is_swept_and_what_runs_is_not(tmp_path):
    folder = vk.save_model(named("old"), tmp_path / "model")
    (tmp_path / ".model.0123456789ab.tmp").mkdir()
    (tmp_path / ".model.0123456789ab.tmp" / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".other.0123456789ab.tmp").mkdir()
    (tmp_path / ".model.notes.tmp").mkdir()
    with atomic.replacing(folder) as running:
        vk.save_model(named("new"), folder)
        assert running.is_dir()
        assert not (tmp_path / ".model.0123456789ab.tmp").exists()
        (running / "visionkit.json").write_text("{}")
    assert sorted(os.listdir(tmp_path)) == [".model.notes.tmp", ".other.0123456789ab.tmp", "model"]


def test_a_short_write_is_gone_on_with(tmp_path, monkeypatch):
    original = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: original(descriptor, data[:1000]))
    folder = vk.save_model(named("new"), tmp_path / "model")
    assert verify(folder).passed


def test_everything_is_on_the_disk_before_it_counts(tmp_path, monkeypatch):
    """The order that a power cut asks for: each file is synced, their folder, the exchange, the folder above."""
    seen = []
    original, exchange = os.fsync, atomic._exchange
    monkeypatch.setattr(os, "fsync", lambda n: (seen.append(Path(f"/proc/self/fd/{n}").readlink()), original(n))[1])
    monkeypatch.setattr(atomic, "_exchange", lambda a, b: (seen.append("exchange"), exchange(a, b))[1])
    folder = vk.save_model(named("old"), tmp_path / "model")
    seen.clear()
    vk.save_model(named("new"), folder)
    names = [Path(path).name for path in seen]
    files = {"model.safetensors", "parity.safetensors", "visionkit.json", "README.md"}
    assert set(names[:-3]) == {n for n in names[:-3] if n.removesuffix(" (deleted)") in files} >= files
    assert names[-3].startswith(".model.")
    assert names[-2] == "exchange"
    assert seen[-1] == tmp_path


def save_for_ever(folder):
    for model in itertools.cycle([named("a"), named("b")]):
        vk.save_model(model, folder)


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
    """Twelve saves that are killed: a whole model is always there, and the last save sweeps what they left."""
    folder = vk.save_model(named("a"), tmp_path / "model")
    chance = random.Random(0)  # noqa: S311 - moments, no secrets
    with Workers(__file__, "save_for_ever") as savers:
        for _ in range(12):
            savers.start(folder)
            time.sleep(chance.uniform(0.05, 0.4))
            assert not savers.kill()
            assert vk.load_model(folder).labels[0] in "ab"
            assert verify(folder).passed
    vk.save_model(named("a"), folder)
    assert os.listdir(tmp_path) == ["model"]
