"""Temperature scaling against probabilities that are right by construction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from visionkit.training import calibration
from visionkit.training.calibration import Calibration, best_temperature, calibrate


def drawn(count=4000, classes=5, seed=0):
    """Logits, and truth that is drawn from their own softmax: calibrated as they are."""
    random = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(count, classes, generator=random, dtype=torch.float64)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_it_finds_the_temperature_that_was_taken_away(temperature):
    logits, targets = drawn()
    assert best_temperature(logits * temperature, targets) == pytest.approx(temperature, rel=0.06)


def test_it_is_the_least_of_the_loss():
    logits, targets = drawn(count=3000)
    found = best_temperature(logits * 2, targets)
    losses = [float(functional.cross_entropy(logits * 2 / t, targets)) for t in (0.99 * found, found, 1.01 * found)]
    assert min(losses) == losses[1]


def test_the_error_before_and_after():
    logits, targets = drawn()
    found = calibrate(4 * logits, targets)
    assert found.temperature == pytest.approx(4.0, rel=0.06)
    assert found.before.value > 0.2
    assert found.after.value < 0.04
    assert found.after.high < found.before.low
    assert found.images == sum(b.count for b in found.bins_before) == sum(b.count for b in found.bins_after) == 4000
    assert Calibration.model_validate_json(found.model_dump_json()) == found


def test_right_probabilities_stay_about_as_they_are():
    found = calibrate(*drawn(count=500))
    assert found.temperature == pytest.approx(1.0, abs=0.1)
    assert found.after.value == pytest.approx(found.before.value, abs=0.02)


def test_one_that_would_not_be_better_elsewhere_is_not_applied():
    applied = [calibrate(*drawn(count=30, seed=seed)).temperature != 1.0 for seed in range(20)]
    assert 0 < sum(applied) < 20
    kept = next(seed for seed in range(20) if not applied[seed])
    found = calibrate(*drawn(count=30, seed=kept))
    assert found.after == found.before


def test_the_error_after_is_of_pictures_that_took_no_part():
    """Each fifth is divided by the temperature of the others: here the last fifth is of another kind."""
    logits, targets = drawn(count=1000)
    sharp = logits.clone() * 3
    sharp[4::5] /= 3
    found = calibrate(sharp, targets)
    confidence = torch.cat([sharp[i::5] / best_temperature(_rest(sharp, i), _rest(targets, i)) for i in range(5)])
    right = confidence.argmax(1) == torch.cat([targets[i::5] for i in range(5)])
    mean = float((confidence.softmax(1).amax(1)).mean())
    assert sum(b.count * b.confidence for b in found.bins_after) / 1000 == pytest.approx(mean)
    assert sum(b.count * b.accuracy for b in found.bins_after) / 1000 == pytest.approx(float(right.double().mean()))


def _rest(values, fold):
    return torch.cat([values[i::5] for i in range(5) if i != fold])


def test_a_few_right_answers_prove_little():
    """Without the prior the temperature would be the least there is, and all later answers certain."""
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]] * 2, dtype=torch.float64)
    few = best_temperature(logits, torch.tensor([0, 1] * 2))
    many = best_temperature(logits.repeat(200, 1), torch.tensor([0, 1] * 400))
    assert 0.6 < few < 1.0
    assert many < 0.35


def test_several_labels():
    random = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(1500, 4, generator=random, dtype=torch.float64)
    targets = (torch.rand(1500, 4, generator=random) < logits.sigmoid()).long()
    found = calibrate(3 * logits, targets)
    assert found.temperature == pytest.approx(3.0, rel=0.06)
    assert found.after.value < 0.02 < found.before.value
    assert sum(b.count for b in found.bins_after) == 6000


def test_nothing_to_calibrate_on():
    assert calibrate(torch.zeros((0, 3)), torch.zeros(0, dtype=torch.int64)) is None
    assert calibrate(torch.tensor([[np.inf, 0.0]]), torch.tensor([0])) is None
    one = calibrate(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert one.temperature == 1.0
    assert one.images == 1


@pytest.mark.parametrize("several", [False, True])
def test_of_thousands_of_classes_a_part_is_fitted_on_and_little_is_held(monkeypatch, several):
    """What it finds is about what all pictures tell, and the same in small pieces as in one."""
    logits, targets = drawn(count=400, classes=2000)
    if several:
        targets = (torch.rand(logits.shape, generator=torch.Generator().manual_seed(1)) < logits.sigmoid()).float()
    monkeypatch.setattr(calibration, "FITTED", 2000 * 120)
    whole = calibrate(2 * logits, targets)
    monkeypatch.setattr(calibration, "_AT_ONCE", 2000 * 7)
    assert calibrate(2 * logits, targets) == whole
    assert whole.temperature == pytest.approx(2.0, rel=0.1)
    assert whole.images == 400
    assert whole.after.value < whole.before.value
    sizes = [len(part) for _, part in calibration.pieces(logits)]
    assert sizes == [7] * 57 + [1]


def test_what_is_fitted_on_is_of_every_fifth(monkeypatch):
    """Every fifth picture, which is what a bound may choose, is no fifth of its own."""
    logits, targets = drawn(count=1000)
    monkeypatch.setattr(calibration, "FITTED", 5 * 200)
    found = calibrate(3 * logits, targets)
    assert found.temperature == pytest.approx(3.0, rel=0.15)
    assert found.after.value < 0.06 < found.before.value
