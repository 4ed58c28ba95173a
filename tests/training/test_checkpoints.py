"""A training that ends early, by whatever, goes on to the weights of one that did not."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
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
from support.faults import fail_exchanges
from visionkit.cnn import SimpleCNN
from visionkit.errors import InputError, TrainingError
from visionkit.training import EpochRecord, Recipe, keeper
from visionkit.training.learner import new_learner
from visionkit.training.settings import Settings

RICH = Recipe(ema=0.9, early_stopping=3, accumulate=2, label_smoothing=0.1, class_weights={"red": 2.0})
"""All that a checkpoint may hold."""

SETTINGS = Settings(epochs=2, batch_size=4, learning_rate=1e-2, weight_decay=0.0, seed=0)
RECORD = EpochRecord(epoch=1, loss=1.0, validation_loss=1.0, accuracy=0.5, seconds=1.0, images_per_second=9.0)


class Dropping(nn.Module):
    """Draws numbers, and counts statistics, while it learns."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.head = nn.Linear(4, 2)

    def forward(self, pixels):
        return self.head(self.layers(pixels))


def train(out=None, *, data=None, resume=False, model="visionkit:simple_cnn", recipe=RICH, **options):
    settings = {"epochs": 4, "batch_size": 3, "augment": "light", **options}
    return vk.train(data or colours(), model=model, recipe=recipe, out=out, resume=resume, **settings)


def weights(run):
    return run.model.module.state_dict()


def same(one, other):
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def stop_after(monkeypatch, steps, error=KeyboardInterrupt):
    """Ends the training after some steps; by Ctrl-C, a checkpoint follows each of them."""
    monkeypatch.setattr(keeper, "KEEP_EVERY_SECONDS", 0.0)
    see, seen = keeper.Keeper.see, [0]

    def counted(self, *args, **options):
        seen[0] += 1
        if seen[0] > steps:
            raise error
        see(self, *args, **options)

    monkeypatch.setattr(keeper.Keeper, "see", counted)


@pytest.mark.parametrize("recipe", [RICH, Recipe(optimizer="sgd", schedule="cosine")], ids=["rich", "sgd"])
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_ctrl_c_and_on(tmp_path, monkeypatch, steps, recipe):
    torch.manual_seed(0)
    model = Dropping()
    expected = train(model=model, recipe=recipe)
    with monkeypatch.context() as patch:
        stop_after(patch, steps)
        with pytest.raises(
            KeyboardInterrupt, match=r"training was stopped; the checkpoint of epoch \d, step \d, is kept"
        ):
            train(tmp_path / "run", model=model, recipe=recipe)
    assert (tmp_path / "run" / "checkpoint" / "state.safetensors").is_file()
    torch.manual_seed(1)
    run = train(tmp_path / "run", model=Dropping(), recipe=recipe, resume=True)
    assert same(weights(run), weights(expected))
    assert [r.loss for r in run.history] == [r.loss for r in expected.history]
    assert [r.validation_loss for r in run.history] == [r.validation_loss for r in expected.history]
    assert not (tmp_path / "run" / "checkpoint").exists()
    assert vk.load_model(tmp_path / "run", module=Dropping()).labels == ("blue", "red")


def test_the_folder_while_it_runs(tmp_path, monkeypatch):
    stop_after(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run")
    state = json.loads((tmp_path / "run" / "checkpoint" / "state.json").read_text())
    assert (state["epoch"], state["step"]) == (1, 2)
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == state["history"]
    assert sorted(os.listdir(tmp_path / "run" / "checkpoint")) == ["state.json", "state.safetensors"]
    with pytest.raises(InputError, match="holds a training that has not ended: go on with resume=True"):
        train(tmp_path / "run")


def test_lines_after_the_checkpoint_are_cut_off(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run")
    history = tmp_path / "run" / "history.jsonl"
    with history.open("a") as file:
        file.write('{"epoch":2,"loss":0.5}\n{"epo')
    run = train(tmp_path / "run", resume=True)
    lines = [json.loads(line) for line in history.read_text().splitlines()]
    assert lines == [record.model_dump() for record in run.history]
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 5}, r"begun with settings: epochs 4, not 5: give the same to go on"),
        ({"recipe": Recipe()}, r"begun with settings: recipe: label_smoothing 0.1, not 0.0"),
        ({"model": "timm:test_resnet"}, r"begun with network: model 'visionkit:simple_cnn', not 'timm:test_resnet'"),
        ({"data": colours(9)}, r"begun with pictures to learn from '12 of sha256 .*', not '13 of sha256"),
        ({"data": [(p, {"red": "blue", "blue": "red"}[c]) for p, c in colours()]}, r"begun with .*, not"),
    ],
)
def test_other_settings_or_data_are_refused(tmp_path, monkeypatch, change, message):
    data = colours(size=40) if "model" in change else None
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", data=data)
    with pytest.raises(TrainingError, match=message):
        train(tmp_path / "run", **{"data": data, **change}, resume=True)
    assert train(tmp_path / "run", data=data, resume=True).folder == tmp_path / "run"


def test_a_damaged_checkpoint_is_named(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run")
    file = tmp_path / "run" / "checkpoint" / "state.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(TrainingError, match=r"state\.safetensors is not the file that was written"):
        train(tmp_path / "run", resume=True)
    (file.parent / "state.json").write_text("{")
    with pytest.raises(TrainingError, match=r"cannot be read: .* is no valid JSON"):
        train(tmp_path / "run", resume=True)


def test_what_is_done_is_given_again(tmp_path):
    first = train(tmp_path / "run", resume=True)
    again = train(tmp_path / "run", resume=True)
    assert again.history == first.history
    assert again.metrics == first.metrics
    assert same(weights(again), weights(first))
    with pytest.raises(TrainingError, match="was trained with other settings"):
        train(tmp_path / "run", resume=True, epochs=3)
    with pytest.raises(TrainingError, match="was trained on other data"):
        train(tmp_path / "run", resume=True, validation=0.5)


def test_resume_needs_a_folder():
    with pytest.raises(InputError, match="resume=True goes on from the checkpoint in out="):
        train(resume=True)


def test_what_a_killed_start_left_is_swept(tmp_path):
    (tmp_path / "run" / ".checkpoint.0123456789ab.tmp").mkdir(parents=True)
    (tmp_path / "run" / ".checkpoint.0123456789ab.tmp" / "state.json").write_text("{")
    run = train(tmp_path / "run", resume=True)
    assert not [p for p in run.folder.iterdir() if p.name.startswith(".")]


def test_two_trainings_in_one_folder(tmp_path):
    (tmp_path / "run").mkdir()
    with (
        keeper.keeping(tmp_path / "run", dict, resume=False),
        pytest.raises(TrainingError, match="another process trains in"),
    ):
        train(tmp_path / "run")


def test_an_older_model_stays_until_the_new_one(tmp_path, monkeypatch):
    old = train(tmp_path / "run")
    history = (tmp_path / "run" / "history.jsonl").read_text()
    stop_after(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", seed=1)
    assert same(vk.load_model(tmp_path / "run").module.state_dict(), weights(old))
    assert (tmp_path / "run" / "history.jsonl").read_text() == history


def test_a_loss_that_is_no_number_keeps_the_last_checkpoint(tmp_path):
    class Failing(SimpleCNN):
        steps = 0

        def forward(self, pixels):
            self.steps += self.training
            return super().forward(pixels) / (0.0 if self.steps == 4 and self.training else 1.0)

    torch.manual_seed(0)
    with pytest.raises(
        TrainingError,
        match=r"the loss is (NaN|infinite) in epoch 2, by step 2: try a learning rate below 0\.006; the checkpoint of "
        r"epoch 1, step 2, is kept in .*: go on with resume=True",
    ):
        train(tmp_path / "run", model=Failing(2), batch_size=6, recipe=Recipe(), augment="none")
    run = train(tmp_path / "run", model=SimpleCNN(2), batch_size=6, recipe=Recipe(), augment="none", resume=True)
    assert len(run.history) == 4


class Fault:
    """Fails the n-th call of a kind while checkpoints and history are written."""

    def __init__(self, patch, call, number, code, within):
        self.left, self.failed = number, False
        if call == "renameat2":
            fail_exchanges(patch, self, code)
            return
        original = getattr(os, call)

        def wrapped(*args, **options):
            first = args[0] if args else None
            if call in ("write", "fsync") or str(within) in str(first):
                self.left -= 1
                if self.left == 0:
                    self.failed = True
                    raise OSError(code, os.strerror(code))
            return original(*args, **options)

        patch.setattr(os, call, wrapped)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "renameat2", "replace"])
def test_a_disk_that_fails_at_every_call(tmp_path, monkeypatch, call, code):
    """Of each checkpoint and line of history: the error says so, and the last checkpoint is whole."""
    monkeypatch.setattr(keeper, "open_board", lambda folder: None)
    number, failures = 0, 0
    while True:
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        learner = new_learner(SimpleCNN(2), (), SETTINGS, torch.device("cpu"))
        kept = keeper.Keeper(folder, {}, resume=False)
        kept.begin(learner, [], 4)
        history, reason = [], ""
        with pytest.MonkeyPatch.context() as patch:
            fault = Fault(patch, call, number, code, folder)
            try:
                for epoch in (1, 2):
                    learner.epoch = epoch
                    with torch.no_grad():
                        learner.module.head.bias.fill_(epoch)
                    history.append(RECORD.model_copy(update={"epoch": epoch}))
                    kept.see(learner, history, epoch_over=True)
            except TrainingError as err:
                reason = str(err)
        if reason:
            failures += 1
            assert os.strerror(code) in reason
            assert re.search(r"the checkpoint of epoch \d, step 0, is kept in .*: go on with resume=True", reason)
        again = new_learner(SimpleCNN(2), (), SETTINGS, torch.device("cpu"))
        after = keeper.Keeper(folder, {}, resume=True)
        seen = after.restore(again)
        assert len(seen) == again.epoch
        if again.epoch:
            assert bool((again.module.head.bias == again.epoch).all())
        after.begin(again, seen, 4)
        assert (folder / "history.jsonl").read_text().count("\n") == again.epoch
        assert not [p for p in folder.iterdir() if p.name.startswith(".")]
        if not fault.failed:
            break
        assert learner.epoch - again.epoch in (0, 1)
    assert failures >= {"open": 8, "write": 6, "fsync": 10, "renameat2": 2, "replace": 0}[call]


@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "renameat2", "replace"])
def test_a_disk_that_fails_at_every_call_of_a_training(tmp_path, monkeypatch, call, code):
    """The error says so, and the training goes on from the last checkpoint to the same weights."""
    monkeypatch.setattr(keeper, "open_board", lambda folder: None)  # its writer has threads of its own
    options = {"epochs": 1, "batch_size": 8, "recipe": Recipe(), "augment": "none"}
    expected = weights(train(**options))
    number = 0
    while True:
        number += 1
        out = tmp_path / str(number)
        with pytest.MonkeyPatch.context() as patch:
            fault = Fault(patch, call, number, code, out)
            reason = ""
            try:
                run = train(out, **options)
            except (TrainingError, InputError, OSError) as err:
                reason = str(err)
            except vk.VisionkitError as err:  # the proof of the saved model cannot read what was written
                reason = str(err)
        if not fault.failed:
            break
        if reason:
            assert os.strerror(code) in reason
        if not reason or (out / "checkpoint").exists() or not out.exists():
            run = train(out, **options, resume=True)
        else:
            assert [p for p in out.iterdir() if p.name != "history.jsonl"] == [], reason
            continue
        assert same(weights(run), expected), number
        assert same(vk.load_model(out).module.state_dict(), expected)
    assert number > {"open": 10, "write": 10, "fsync": 12, "renameat2": 1, "replace": 1}[call]


TRAINING = """
import sys
sys.path.insert(0, sys.argv[2])
import test_checkpoints as tests
from visionkit.training import keeper
keeper.KEEP_EVERY_SECONDS = 0.02
print("ready", flush=True)
tests.train(sys.argv[1], resume=True, **tests.LONG)
print("done", flush=True)
"""
LONG = {"data": colours(24, 16), "epochs": 8, "batch_size": 4}


def start(folder, *before):
    command = [*before, sys.executable, "-c", TRAINING, str(folder), str(Path(__file__).parent)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)


def wait_for_epochs(training, folder, count):
    """Until so many lines of history stand there, or the training ends: seconds differ with the machine's load."""
    history = folder / "history.jsonl"
    while training.poll() is None and not (history.exists() and history.read_text().count("\n") >= count):
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_random_moments(tmp_path):
    """Ten times killed, and each time on to the weights of an uninterrupted run, at whatever checkpoint it fell."""
    expected = weights(train(**LONG))
    chance, interrupted = random.Random(0), 0  # noqa: S311 - moments, no secrets
    for attempt in range(10):
        folder, done = tmp_path / str(attempt), False
        for _ in range(1 + attempt % 2):
            training = start(folder)
            assert training.stdout.readline() == "ready\n"
            wait_for_epochs(training, folder, chance.randrange(LONG["epochs"]))
            time.sleep(chance.uniform(0.0, 0.2))
            training.send_signal(signal.SIGKILL)
            training.wait()
            done = training.stdout.read() == "done\n"
            training.stdout.close()
            interrupted += (folder / "checkpoint").exists()
            if folder.exists() and (folder / "history.jsonl").exists():
                for line in (folder / "history.jsonl").read_text().splitlines():
                    json.loads(line)
            if done:
                break
        run = train(folder, resume=True, **LONG)
        assert same(weights(run), expected), attempt
        assert same(vk.load_model(folder).module.state_dict(), expected)
        assert not [p for p in [*folder.iterdir(), *tmp_path.iterdir()] if p.name.startswith(".")]
    print(f"{interrupted} trainings killed with a checkpoint")
    assert interrupted >= 5


@pytest.mark.slow
def test_the_order_of_writes_from_a_trace(tmp_path):
    """What a power cut asks for, and no killed process can show: write, fsync, rename, fsync of the folder."""
    if shutil.which("strace") is None:
        pytest.skip("strace is missing: apt install strace")
    log, folder = tmp_path / "log", tmp_path / "run"
    traced = "trace=write,fsync,rename,renameat2"
    training = start(folder, "strace", "-f", "--seccomp-bpf", "-qq", "-y", "-o", str(log), "-e", traced)
    assert training.communicate()[0].endswith("done\n")
    calls = [
        (match[1], match[2])
        for match in re.finditer(r"(?m)^\d+ +(write|fsync|rename|renameat2)\((.*)$", log.read_text())
        if str(tmp_path) in match[2] and "tensorboard" not in match[2]
    ]
    renames = [i for i, (call, what) in enumerate(calls) if call.startswith("rename") and "checkpoint" in what]
    assert len(renames) >= 9  # the first checkpoint and one after each epoch, at least
    for place in renames:
        building = re.search(r"\.checkpoint\.[0-9a-f]{12}\.tmp", calls[place][1])[0]
        before = [(call, what) for call, what in calls[:place] if building in what]
        for name in ("state.safetensors", "state.json"):
            mine = [call for call, what in before if f"{building}/{name}" in what]
            assert mine[-1] == "fsync", (name, mine)
            assert set(mine[:-1]) == {"write"}, (name, mine)
        assert before[-1][0] == "fsync", before[-1]
        assert before[-1][1].rstrip().split(">")[0].endswith(building)
        assert calls[place + 1][0] == "fsync", calls[place + 1]
        assert calls[place + 1][1].split(">")[0].endswith("/run")
