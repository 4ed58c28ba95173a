"""Several processes train one network, as one would; a launcher starts two of them, over gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import visionkit as vk
from visionkit.cnn import SimpleCNN
from visionkit.errors import InputError, TrainingError
from visionkit.training import Recipe, keeper
from visionkit.training.checkpoint import copy_of, take
from visionkit.training.fingerprints import layers_digest
from visionkit.training.launch import launched
from visionkit.training.learner import arithmetic, new_learner
from visionkit.training.loop import Lesson, generator, loss_of, train_steps
from visionkit.training.settings import Settings
from visionkit.training.several import Several

CPU = torch.device("cpu")
EXACT = Recipe(optimizer="sgd", ema=0.9, accumulate=2, label_smoothing=0.1, class_weights={"red": 3.0})
"""With all that a share of a batch must be weighted for; Adam would make much of the last bits of small gradients."""


def colours(count=12, size=8):
    """Red and blue pictures with some noise."""
    numbers = np.random.default_rng(0)
    pairs = []
    for _ in range(count):
        for channel, label in ((0, "red"), (2, "blue")):
            picture = numbers.integers(0, 60, (size, size, 3), dtype=np.uint8)
            picture[..., channel] += 150
            pairs.append((picture, label))
    return pairs


class Drawing(nn.Module):
    """Draws numbers, and keeps statistics, while it learns."""

    def __init__(self, broken_in=None):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(4, 2)
        self.calls, self.broken_in = 0, broken_in
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))

    def forward(self, pixels):
        self.calls += self.training
        if self.calls == self.broken_in:
            raise ValueError("broken")
        return self.head(self.layers(pixels))


def made(model, seed, *arguments):
    torch.manual_seed(seed)
    return model(*arguments)


def train(model, **options):
    return vk.train(colours(), model=model, **{"epochs": 3, "batch_size": 5, "progress": False, **options})


def exact(model):
    return train(model, recipe=EXACT, learning_rate=0.1)


def drawn(**options):
    return train(made(Drawing, 0), augment="light", recipe=Recipe(early_stopping=9), **options)


def tuned(part):
    spec = vk.Preprocess(size_wh=(8, 8), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    model = vk.wrap_model(made(SimpleCNN, 0), preprocess=spec, device="cpu")
    options = {"recipe": Recipe(optimizer="sgd")} if part == "all" else {}
    return vk.fine_tune(colours(), model=model, train=part, epochs=2, cache=False, progress=False, **options)


def told(run):
    history = [(r.epoch, r.loss, r.validation_loss, r.accuracy) for r in run.history]
    return {**{k: v.double() for k, v in run.model.module.state_dict().items()}, "history": torch.tensor(history)}


def refused(call):
    try:
        call()
    except Exception as err:  # noqa: BLE001 - whatever it is, it is what is compared
        return f"{type(err).__name__}: {err}"
    return "nothing was raised"


def stop_after(steps):
    """Makes the process that keeps checkpoints fail."""
    see = keeper.Keeper.see

    def counted(self, learner, *args, **options):
        if learner.epoch * 4 + learner.step > steps:
            raise OSError("stopped")
        see(self, learner, *args, **options)

    keeper.Keeper.see = counted
    return see


def stopped(folder):
    """One more error in the main process alone."""
    keeper.KEEP_EVERY_SECONDS = 0.0
    see = stop_after(5)
    said = refused(lambda: drawn(out=folder))
    keeper.Keeper.see = see
    return said


def main(folder):
    """What each of the launched processes does; the same calls, but for what shall be seen to go wrong."""
    rank = int(os.environ["RANK"])
    runs, errors = {}, {}
    runs["exact"] = told(exact(made(SimpleCNN, rank, 2)))  # each begins elsewhere: the main one's weights count
    runs["drawn"] = told(drawn())
    errors["stopped"] = stopped(folder / "run")
    errors["broken"] = refused(lambda: train(made(Drawing, 0, 7 if rank else None)))
    errors["no number"] = refused(lambda: train("visionkit:simple_cnn", learning_rate=1e30, recipe=EXACT))
    errors["other network"] = refused(lambda: train(SimpleCNN(2, activation="sigmoid" if rank else "relu")))
    errors["other layers"] = refused(lambda: train(nn.Sequential(nn.Dropout(0.1 + rank / 2), *Drawing().layers)))
    errors["other call"] = refused(lambda: train("visionkit:simple_cnn", epochs=2 + rank))
    runs["resumed"] = told(drawn(out=folder / "run", resume=True))
    runs["ended"] = {"saved": torch.tensor(float((folder / "run" / "report.html").exists()))}
    plain = {"model": "visionkit:simple_cnn", "epochs": 1, "out": folder / "plain"}
    runs["plain"], runs["again"] = told(train(**plain)), told(train(**plain, resume=True))
    errors["left"] = stopped(folder / "left")
    runs["head"], runs["all"] = told(tuned("head")), told(tuned("all"))
    torch.save(runs, folder / f"{rank}.pt")
    (folder / f"{rank}.json").write_text(json.dumps(errors))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder, and what each of two processes found."""
    folder = tmp_path_factory.mktemp("two")
    launch = ["--multi_gpu", "--num_processes=2", "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
    command = [sys.executable, "-m", "accelerate.commands.launch", *launch, "--main_process_port=0"]
    paths = os.pathsep.join([str(Path(vk.__file__).parents[1]), str(Path(__file__).parents[1])])
    env = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "HF_HOME": str(folder), "PYTHONPATH": paths}
    command += [__file__, str(folder)]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    errors = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    return folder, runs, errors


def assert_same(one, other):
    assert list(one) == list(other)
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["exact", "drawn", "resumed", "plain", "again", "head", "all"])
def test_every_process_has_the_same_run(two, name):
    _, (first, second), _ = two
    assert_same(first[name], second[name])


@pytest.mark.slow
def test_two_learn_as_one(two):
    """To 1e-5, which sums in another order may differ by; batches of five, and a last one of less."""
    expected = told(exact(made(SimpleCNN, 0, 2)))
    moved = max((expected[name] - value).abs().max() for name, value in made(SimpleCNN, 0, 2).state_dict().items())
    assert moved > 1e-2
    for name, value in two[1][0]["exact"].items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.slow
def test_two_fine_tune_as_one(two):
    assert_same(two[1][0]["head"], told(tuned("head")))
    for name, value in told(tuned("all")).items():
        torch.testing.assert_close(two[1][0]["all"][name], value, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.slow
def test_each_draws_its_own_numbers(two):
    """Two that drew the same would make other statistics and weights than these, and one process others again."""
    found = two[1][0]["drawn"]
    assert not torch.equal(found["head.weight"], told(drawn())["head.weight"])
    assert found["mask"].tolist() == [0.0, -torch.inf]
    assert found["layers.1.num_batches_tracked"] > 0
    assert torch.equal(found["unused.weight"], made(Drawing, 0).unused.weight.double())


@pytest.mark.slow
def test_it_goes_on_to_the_same_weights(two):
    _, (first, second), _ = two
    assert_same(first["resumed"], first["drawn"])
    assert_same(first["again"], first["plain"])
    assert first["ended"]["saved"] == second["ended"]["saved"] == 1.0


@pytest.mark.slow
def test_one_that_fails_ends_all(two):
    _, _, (first, second) = two
    assert first["stopped"] == "OSError: stopped"
    assert second["stopped"] == "TrainingError: process 0 of 2 failed, which ends all: OSError: stopped"
    assert first["broken"] == "TrainingError: process 1 of 2 failed, which ends all: ValueError: broken"
    assert second["broken"] == "ValueError: broken"
    for said in (first["no number"], second["no number"]):
        assert "TrainingError" in said
        assert "the loss is" in said
    for said in (first["other network"], second["other network"]):
        assert "'activation': 'sigmoid'" in said
        assert said.endswith("every process must make the same call on the same data")
    for said in (first["other layers"], second["other layers"]):
        assert said.startswith("TrainingError: process 1 was called with layers '")
    for said in (first["other call"], second["other call"]):
        assert said == (
            "TrainingError: process 1 was called with epochs 3, the main process with 2: "
            "every process must make the same call on the same data"
        )


@pytest.mark.slow
def test_another_number_of_processes_does_not_go_on(two):
    with pytest.raises(TrainingError, match=r"was begun with processes 2, not 1: give the same to go on"):
        drawn(out=two[0] / "left", resume=True)


def one_of(rank, count):
    """A process without connections: enough to ask for its share."""
    found = Several.__new__(Several)
    found.rank, found.count = rank, count
    return found


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 12])
def test_shares_are_the_batch(size, count):
    batch = torch.randperm(size)
    shares = [one_of(rank, count).share(batch) for rank in range(count)]
    assert torch.equal(torch.cat(shares), batch)
    assert all(len(share) != 1 for share in shares) or size == 1  # batch normalisation needs two
    rows = [one_of(rank, count).rows(size) for rank in range(count)]
    assert torch.equal(torch.cat([batch[part] for part in rows]), batch)
    seeds = {generator(0, one_of(rank, count).purpose("step"), 1).initial_seed() for rank in range(count)}
    assert len(seeds) == count


class Odd(nn.Linear):
    """Says where in memory it lies, which is elsewhere in every process."""

    def extra_repr(self):
        return object.__repr__(self)


def test_layers_of_other_networks_are_others():
    def network(dropout=0.5, width=2):
        return nn.Sequential(Odd(3, width), nn.Dropout(dropout))

    networks = [network(), network(), network(dropout=0.1), network(width=4)]
    assert len({str(one) for one in networks}) == 4
    one, same, *others = map(layers_digest, networks)
    assert one == same
    assert len({one, *others}) == 3


@pytest.mark.parametrize("several", [False, True], ids=["one label", "several labels"])
def test_losses_of_shares_add_up(several):
    torch.manual_seed(0)
    module, inputs, classes = nn.Linear(3, 2), torch.randn(7, 3), torch.tensor([0, 0, 0, 1, 0, 1, 0])
    targets = nn.functional.one_hot(classes).float() if several else classes
    lesson = Lesson(inputs, targets, lambda part: part, class_weights=torch.tensor([1.0, 5.0]))
    batch, draw = torch.arange(7), torch.Generator()
    whole = loss_of(module, lesson, batch, draw, 0.1)
    shares = [loss_of(module, lesson, part, draw, 0.1, of=batch) for part in batch.tensor_split(2)]
    assert sum(shares).item() == pytest.approx(whole.item(), rel=1e-6)
    assert shares[0].item() != pytest.approx(whole.item() * 4 / 7, rel=1e-3)


def test_the_launchers_precision(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setattr("visionkit.training.learner.has_bfloat16", lambda: True)
    seen = []

    class Looking(SimpleCNN):
        def forward(self, pixels):
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().forward(pixels)

    train(Looking(2), epochs=1)
    assert True in seen
    seen.clear()
    train(Looking(2), epochs=1, recipe=Recipe(precision="float32"))
    assert True not in seen
    assert arithmetic(Recipe(), CPU, torch.bfloat16) == torch.bfloat16
    assert arithmetic(Recipe(precision="float32"), CPU, torch.bfloat16) == torch.float32
    assert arithmetic(Recipe(), CPU, torch.float16) == torch.float32  # CPUs have no use for it
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    with launched(CPU) as alone:
        assert alone.precision is None, "as without a launcher"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    with pytest.raises(TrainingError, match="--mixed_precision fp8 is not offered: launch with one of no, bf16, fp16"):
        train("visionkit:simple_cnn")


def test_gradients_are_scaled_in_float16():
    """On a CPU, where torch has the scaler too; a copy takes over its state."""
    given = Settings(epochs=1, batch_size=4, learning_rate=0.1, weight_decay=0.0, seed=0)
    torch.manual_seed(0)
    inputs = torch.randn(16, 3)
    lesson = Lesson(inputs, (inputs[:, 0] > 0).long(), lambda part: part)
    found = {}
    for precision in (torch.float32, torch.float16):
        learner = new_learner(made(nn.Linear, 0, 3, 2), (), given, CPU, precision)
        assert len(list(train_steps(learner, lesson, given, 4))) == 4
        found[precision] = learner
    plain, scaled = found[torch.float32], found[torch.float16]
    torch.testing.assert_close(plain.module.weight, scaled.module.weight)
    assert plain.scaler is None
    assert scaled.scaler.state_dict()["_growth_tracker"] == 4
    twin = new_learner(nn.Linear(3, 2), (), given, CPU, torch.float16)
    take(twin, copy_of(scaled))
    assert twin.scaler.state_dict() == scaled.scaler.state_dict()
    assert torch.equal(twin.module.weight, scaled.module.weight)


@pytest.mark.parametrize(
    ("env", "device", "error", "message"),
    [
        (
            {},
            "cpu:0",
            InputError,
            "several processes cannot train on cpu:0: give device='cuda'",
        ),
        ({"ACCELERATE_USE_FSDP": "true"}, "cpu", TrainingError, "FSDP is not offered: launch with --multi_gpu"),
    ],
)
def test_ways_that_several_do_not_train(monkeypatch, env, device, error, message):
    for name, value in {"WORLD_SIZE": "2", "ACCELERATE_MIXED_PRECISION": "no", **env}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(error, match=message), launched(device):
        pass


@pytest.mark.parametrize("name", ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_processes_of_other_launchers_train_alone(monkeypatch, name):
    monkeypatch.setenv(name, "4")
    with launched(None) as alone:
        assert (alone.count, alone.rank, alone.main, alone.place("cpu")) == (1, 0, True, "cpu")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
