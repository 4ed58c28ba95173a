"""What each option of a training does, against torch or by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from visionkit.errors import InputError, TrainingError
from visionkit.training import EpochRecord, Recipe
from visionkit.training.fit import Examples, fit
from visionkit.training.learner import Group, arithmetic, batch_size_for, class_weights, new_learner
from visionkit.training.loop import Lesson, generator, loss_of, train_steps
from visionkit.training.schedule import rate_at
from visionkit.training.settings import Settings
from visionkit.training.vary import varying
from visionkit.training.watch import best_epoch, is_over

CPU = torch.device("cpu")


def settings(recipe=None, **options):
    given = {"epochs": 2, "batch_size": 4, "learning_rate": 0.1, "weight_decay": 0.0, "seed": 0, **options}
    return Settings(recipe=recipe or Recipe(), **given)


def problem(count=16, seed=0):
    """Points of two classes, and a linear network."""
    draw = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % 2
    inputs = torch.randn(count, 3, generator=draw) + targets[:, None] * 2
    torch.manual_seed(0)
    return nn.Linear(3, 2), Examples(inputs, targets)


def identity(part):
    return part


def fitted(module, learn, check=None, **options):
    return fit(module, learn, check or learn, classes=("a", "b"), prepare=identity, progress=False, **options)


@pytest.mark.parametrize(("total", "warmup"), [(50, None), (7, 0.5), (200, 0.1), (5, 0.9)])
def test_one_cycle_is_torchs(total, warmup):
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=total, pct_start=warmup or 0.3)
    recipe = Recipe(warmup=warmup)
    for step in range(total):
        group = optimizer.param_groups[0]
        ours = rate_at(recipe, step, total)
        assert ours.factor == pytest.approx(group["lr"], rel=1e-9), step
        assert ours.momentum == pytest.approx(group["betas"][0], rel=1e-9), step
        optimizer.step()
        theirs.step()


def test_cosine_rises_and_falls():
    factors = [rate_at(Recipe(schedule="cosine", warmup=0.1), step, 100).factor for step in range(100)]
    assert factors[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[99] < 1e-3
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert rate_at(Recipe(schedule="cosine", warmup=0.0), 0, 1).factor == 1.0


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_optimizers_are_torchs(optimizer):
    module, learn = problem()
    twin = copy.deepcopy(module)
    given = settings(Recipe(optimizer=optimizer), epochs=3, weight_decay=0.1)
    learner = new_learner(module, (), given, CPU)
    steps = list(train_steps(learner, Lesson(learn.inputs, learn.targets, identity), given, 4))
    assert [(s.epoch, s.number, s.last) for s in steps[:5]] == [
        (1, 1, False),
        (1, 2, False),
        (1, 3, False),
        (1, 4, True),
        (2, 1, False),
    ]
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[optimizer]
    extra = {"momentum": 0.9, "nesterov": True} if optimizer == "sgd" else {}
    theirs = kind(twin.parameters(), lr=0.1, weight_decay=0.1, **extra)
    for epoch in range(3):
        order = torch.randperm(16, generator=generator(0, "order", epoch))
        for number, index in enumerate(order.split(4)):
            rate = rate_at(given.recipe, epoch * 4 + number, 12)
            for group in theirs.param_groups:
                group["lr"] = 0.1 * rate.factor
                group.update({"momentum": rate.momentum} if extra else {"betas": (rate.momentum, 0.999)})
            theirs.zero_grad()
            nn.functional.cross_entropy(twin(learn.inputs[index]), learn.targets[index]).backward()
            theirs.step()
    torch.testing.assert_close(module.weight, twin.weight)


def test_accumulated_batches_are_one_large_one():
    module, learn = problem(18)
    twin = copy.deepcopy(module)
    fitted(module, learn, settings=settings(Recipe(accumulate=3), batch_size=2))
    fitted(twin, learn, settings=settings(batch_size=6))
    torch.testing.assert_close(module.weight, twin.weight)


def test_groups_have_their_own_rates():
    module, learn = problem()
    before = copy.deepcopy(module)
    groups = [Group((module.weight,), 1e-6), Group((module.bias,))]
    fitted(module, learn, settings=settings(), groups=groups)
    moved = (module.weight - before.weight).abs().max()
    assert 0 < moved < 1e-4 < (module.bias - before.bias).abs().max()


def test_weights_of_the_classes():
    targets = torch.tensor([0, 0, 0, 1])
    assert class_weights(Recipe(), targets, "ab") is None
    assert class_weights(Recipe(class_weights="balanced"), targets, "ab").tolist() == pytest.approx([4 / 6, 2.0])
    assert class_weights(Recipe(class_weights={"b": 3.0}), targets, "ab").tolist() == [1.0, 3.0]
    several = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    assert class_weights(Recipe(class_weights="balanced"), several, "ab").tolist() == pytest.approx([1 / 3, 3.0])
    with pytest.raises(InputError, match="class_weights has 'c', which is no class; they are a, b"):
        class_weights(Recipe(class_weights={"c": 3.0}), targets, "ab")


def test_losses():
    module, learn = problem(4)
    weights, logits = torch.tensor([1.0, 5.0]), module(learn.inputs)
    lesson = Lesson(learn.inputs, learn.targets, identity, class_weights=weights)
    index, draw = torch.arange(4), torch.Generator()
    expected = nn.functional.cross_entropy(logits, learn.targets, weights, label_smoothing=0.2)
    assert loss_of(module, lesson, index, draw, 0.2).item() == pytest.approx(expected.item())
    several = nn.functional.one_hot(learn.targets).float()
    expected = nn.functional.binary_cross_entropy_with_logits(logits, several * 0.8 + 0.1, pos_weight=weights)
    lesson = Lesson(learn.inputs, several, identity, class_weights=weights)
    assert loss_of(module, lesson, index, draw, 0.2).item() == pytest.approx(expected.item())


def test_several_labels():
    module, learn = problem()
    several = Examples(learn.inputs, nn.functional.one_hot(learn.targets).float())
    run = fitted(module, several, settings=settings(epochs=20))
    assert run.metrics["accuracy"] > 0.8
    assert run.confusion == ()
    assert run.history[-1].validation_loss < run.history[0].validation_loss


def test_a_running_average_is_the_model():
    module, learn = problem()
    kept = []
    given = settings(Recipe(ema=0.5), epochs=1)
    learner = new_learner(module, (), given, CPU)
    average = module.weight.detach().clone()
    for number, _ in enumerate(train_steps(learner, Lesson(learn.inputs, learn.targets, identity), given, 4)):
        decay = min(0.5, (1 + number) / (10 + number))
        average = average * decay + module.weight.detach() * (1 - decay)
        kept.append(module.weight.detach().clone())
    torch.testing.assert_close(learner.average.weight.detach(), average)
    assert not torch.equal(kept[-1], average)


def test_it_stops_early_with_the_best_weights():
    module, learn = problem()
    check = Examples(learn.inputs, 1 - learn.targets)  # what is learnt is wrong there
    run = fitted(module, learn, check, settings=settings(Recipe(early_stopping=2), epochs=50))
    assert len(run.history) == 3
    assert best_epoch(run.history) == 1
    loss = nn.functional.cross_entropy(module(check.inputs), check.targets).item()
    assert loss == pytest.approx(run.history[0].validation_loss)
    assert run.metrics["accuracy"] == run.history[0].accuracy


def test_when_it_is_over():
    def history(*losses):
        rest = {"loss": 0.0, "accuracy": 0.0, "seconds": 0.0, "images_per_second": 0.0}
        return [EpochRecord(epoch=i, validation_loss=loss, **rest) for i, loss in enumerate(losses, 1)]

    patient = settings(Recipe(early_stopping=2))
    assert not is_over([], patient)
    assert not is_over(history(1.0, 2.0), patient)
    assert is_over(history(1.0, 2.0, 1.0), patient)
    assert not is_over(history(1.0, 2.0, 0.5), patient)
    assert not is_over(history(*range(9)), settings())


def test_a_batch_size_that_memory_allows():
    sizes = []

    class Hungry(nn.Linear):
        def forward(self, part):
            sizes.append(len(part))
            if len(part) > self.most:
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(part)

    module = Hungry(3, 2)
    before = copy.deepcopy(module.state_dict())
    _, learn = problem(100)
    lesson = Lesson(learn.inputs, learn.targets, identity)
    given = settings(batch_size="auto")
    for most, expected in ((1000, 100), (30, 25), (2, 2)):
        module.most = most
        assert batch_size_for(new_learner(module, (), given, CPU), lesson, given) == expected
    assert sizes[:4] == [100, 100, 50, 25]
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    module.most = 1
    with pytest.raises(TrainingError, match="cpu has not the memory to learn from two pictures at once"):
        batch_size_for(new_learner(module, (), given, CPU), lesson, given)


def test_precision(monkeypatch):
    monkeypatch.setattr("visionkit.training.learner.has_bfloat16", lambda: True)
    assert arithmetic(Recipe(precision="bfloat16"), CPU) == torch.bfloat16
    assert arithmetic(Recipe(), CPU) == torch.float32
    module, learn = problem()
    run = fitted(module, learn, settings=settings(Recipe(precision="bfloat16"), epochs=10))
    assert module.weight.dtype == torch.float32
    assert run.history[-1].loss < run.history[0].loss
    monkeypatch.setattr("visionkit.training.learner.has_bfloat16", lambda: False)
    assert arithmetic(Recipe(precision="bfloat16"), CPU) == torch.float32


def test_strong_augmentation_mixes_the_targets():
    pixels = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    changed, shares = varying("strong", 3)(pixels, torch.arange(6) % 3, torch.Generator().manual_seed(1))
    assert changed.shape == pixels.shape
    assert torch.allclose(shares.sum(1), torch.ones(6))
    assert varying("none", 3) is None
    same_targets = torch.arange(6) % 3
    assert varying("light", 3)(pixels, same_targets, torch.Generator())[1] is same_targets


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adam"}, "optimizer='adam' is not offered; choose one of 'adamw', 'sgd'"),
        ({"schedule": ["one_cycle"]}, "schedule=.* is not offered"),
        ({"precision": "half"}, "precision='half' is not offered; choose one of None, 'float32', 'bfloat16'"),
        ({"warmup": 1.0}, "warmup=1.0 must be a fraction of all steps"),
        ({"label_smoothing": -0.1}, "label_smoothing=-0.1 must be from 0 to below 1"),
        ({"ema": 1.0}, "ema=1.0 must be a decay between 0 and 1"),
        ({"ema": math.nan}, "ema=nan must be a finite number"),
        ({"early_stopping": 0}, "early_stopping=0 must be at least 1"),
        ({"accumulate": 1.5}, "accumulate=1.5 must be a whole number"),
        ({"class_weights": "even"}, "class_weights='even' must be None, 'balanced', or weights"),
        ({"class_weights": {"a": 0.0}}, r"class_weights\['a'\]=0.0: give a weight above 0"),
        ({"class_weights": {"a": "b"}}, r"class_weights\['a'\]='b' must be a finite number"),
    ],
)
def test_recipes_that_make_no_sense(options, message):
    with pytest.raises(InputError, match=message):
        Recipe(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": "large"}, "batch_size='large' must be a whole number"),
        ({"learning_rate": math.inf}, "learning_rate=inf must be a finite number"),
        ({"recipe": {"ema": 0.9}}, "recipe must be a visionkit.training.Recipe, not dict"),
    ],
)
def test_settings_that_make_no_sense(options, message):
    with pytest.raises(InputError, match=message):
        Settings(**{"epochs": 1, "batch_size": 4, "learning_rate": 0.1, "weight_decay": 0.0, "seed": 0, **options})
