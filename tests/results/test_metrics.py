"""Figures against scikit-learn, scipy and closed forms; intervals against what they promise."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from visionkit.results import metrics
from visionkit.results.intervals import _resamples, bootstrap, certain, difference, mean_of
from visionkit.results.resampled import Ranking, auroc_with_shares, macro_f1, precision_with_shares


def mean_interval(values, seed=0):
    [interval] = bootstrap({"mean": mean_of(values)}, len(values), seed=seed).values()
    return certain(interval, len(values))


def answers(count=300, classes=7, seed=0, temperature=1.0, steps=None):
    """Truth drawn from the probabilities themselves, which so are right; then sharpened by a temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (count, classes))
    if steps:
        logits = np.round(logits * steps) / steps  # ties
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    true = (probabilities.cumsum(1) < random.random((count, 1))).sum(1).clip(max=classes - 1)
    sharp = np.exp(logits / temperature)
    return true, sharp / sharp.sum(1, keepdims=True)


def test_figures_are_those_of_scikit_learn():
    true, probabilities = answers()
    found = {name: interval.value for name, interval in metrics.figures(true, probabilities).items()}
    assert found == pytest.approx(
        {
            "accuracy": sk.accuracy_score(true, probabilities.argmax(1)),
            "top5_accuracy": sk.top_k_accuracy_score(true, probabilities, k=5),
            "macro_f1": sk.f1_score(true, probabilities.argmax(1), average="macro"),
            "auroc": sk.roc_auc_score(true, probabilities, multi_class="ovr"),
            "ece": found["ece"],
        }
    )


def test_two_classes():
    true, probabilities = answers(classes=2)
    found = metrics.figures(true, probabilities)
    assert "top5_accuracy" not in found
    assert found["auroc"].value == pytest.approx(sk.roc_auc_score(true, probabilities[:, 1]))


def test_what_does_not_exist_is_left_out():
    found = metrics.figures([1, 1, 1], [[0.2, 0.8], [0.3, 0.7], [0.9, 0.1]])
    assert set(found) == {"accuracy", "macro_f1", "ece"}
    rare = metrics.figures([0, 0, 1, 1], np.eye(3)[[0, 1, 1, 1]])  # the third class has no picture
    assert rare["auroc"].value == pytest.approx((0.75 + 0.75) / 2)


def test_several_labels():
    random = np.random.default_rng(3)
    probabilities = random.random((200, 5))
    true = random.random((200, 5)) < probabilities
    true[:, 4] = False
    found = metrics.multi_label_figures(true, probabilities)
    said = probabilities >= 0.5
    assert found["mean_average_precision"].value == pytest.approx(
        sk.average_precision_score(true[:, :4], probabilities[:, :4])
    )
    assert found["macro_f1"].value == pytest.approx(sk.f1_score(true, said, average="macro", zero_division=0))
    assert found["auroc"].value == pytest.approx(sk.roc_auc_score(true[:, :4], probabilities[:, :4]))
    assert found["accuracy"].value == sk.accuracy_score(true, said)
    assert set(metrics.multi_label_figures([[False, False]], [[0.1, 0.2]])) == {"accuracy", "ece"}


@pytest.mark.parametrize("steps", [None, 2])
def test_a_count_weighs_as_so_many_pictures(steps):
    """The bootstrap's sums equal scikit-learn's figures with those weights, with ties in the scores too."""
    true, probabilities = answers(count=60, classes=3, steps=steps)
    counts = next(_resamples(60, 1, 4))
    said = probabilities.argmax(1)
    for row, f1 in zip(counts, macro_f1(true, said, 3)(counts), strict=True):
        assert f1 == pytest.approx(sk.f1_score(true, said, average="macro", sample_weight=row))
    happened, scores = true == 1, probabilities[:, 1]
    ranking = Ranking(happened, scores)
    for row, precision in zip(counts, ranking.average_precision(counts), strict=True):
        assert precision == pytest.approx(sk.average_precision_score(happened, scores, sample_weight=row))
    flags, flagged = np.eye(3, dtype=bool)[true], probabilities >= 0.4
    for row, f1 in zip(counts, macro_f1(flags, flagged, 3)(counts), strict=True):
        assert f1 == pytest.approx(sk.f1_score(flags, flagged, average="macro", sample_weight=row, zero_division=0))


@pytest.mark.parametrize("steps", [None, 2])
def test_the_interval_of_the_area_is_that_of_areas_of_resamples(steps):
    true, probabilities = answers(count=200, classes=2, steps=steps)
    interval = metrics.figures(true, probabilities)["auroc"]
    rows = np.concatenate(list(_resamples(200, 0, 1000)))[:400]
    areas = [sk.roc_auc_score(true, probabilities[:, 1], sample_weight=row) for row in rows]
    assert (interval.low, interval.high) == pytest.approx(np.percentile(areas, [2.5, 97.5]), abs=0.012)
    area, shares = auroc_with_shares(true == 1, probabilities[:, 1])
    assert area == pytest.approx(sk.roc_auc_score(true == 1, probabilities[:, 1]))
    assert shares.sum() == pytest.approx(0.0, abs=1e-12)
    more = np.ones(200)
    more[5] += 1e-4
    grown = sk.roc_auc_score(true == 1, probabilities[:, 1], sample_weight=more)
    assert (grown - sk.roc_auc_score(true == 1, probabilities[:, 1])) / 1e-4 == pytest.approx(shares[5], rel=0.01)


@pytest.mark.parametrize("steps", [None, 2])
def test_by_how_much_the_precision_grows_with_a_picture(steps):
    true, probabilities = answers(count=90, classes=3, steps=steps)
    happened, scores = true == 1, probabilities[:, 1]
    average, shares = precision_with_shares(happened, scores)
    assert average == pytest.approx(sk.average_precision_score(happened, scores))
    assert shares.sum() == pytest.approx(0.0, abs=1e-12)
    for i in range(0, 90, 7):
        more = np.ones(90)
        more[i] += 1e-5
        grown = sk.average_precision_score(happened, scores, sample_weight=more)
        assert (grown - average) / 1e-5 == pytest.approx(shares[i], rel=0.01, abs=1e-6)


def test_the_rough_interval_of_the_mean_precision_is_about_the_exact_one(monkeypatch):
    random = np.random.default_rng(0)
    probabilities = random.random((300, 6))
    true = random.random((300, 6)) < probabilities
    exact = metrics.multi_label_figures(true, probabilities)["mean_average_precision"]
    monkeypatch.setattr(metrics, "_WORK", 1000)
    rough = metrics.multi_label_figures(true, probabilities)["mean_average_precision"]
    assert rough.value == pytest.approx(exact.value)
    assert (rough.low, rough.high) == pytest.approx((exact.low, exact.high), abs=0.01)


@pytest.mark.parametrize("several", [False, True])
def test_thousands_of_classes_take_little_memory(several):
    """Two thousand: what is made of the probabilities is no multiple of them, and figures are scikit-learn's."""
    count = 1200 if several else 800
    random = np.random.default_rng(0)
    probabilities = random.random((count, 2000), dtype=np.float32) / 2
    true = random.integers(0, 2000, count)
    probabilities[np.arange(count), true] += (random.random(count) > 0.3) / 2
    given = np.zeros((count, 2000), dtype=bool)
    given[np.arange(count), true] = True
    tracemalloc.start()
    try:
        found = metrics.multi_label_figures(given, probabilities) if several else metrics.figures(true, probabilities)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    print(f"{most / 2**20:.0f} MB beside {probabilities.nbytes / 2**20:.0f}")
    assert most < (105 if several else 70) * 2**20
    said = probabilities >= 0.5 if several else probabilities.argmax(1)
    shown = given.any(0) | said.any(0) if several else slice(None)
    f1 = sk.f1_score(*((side[:, shown] for side in (given, said)) if several else (true, said)), average="macro")
    assert found["macro_f1"].value == pytest.approx(f1)
    assert all(0 <= one.low <= one.value <= one.high <= 1 for one in found.values())


def test_a_resample_without_the_class_is_no_figure():
    ranking = Ranking(np.array([True, False]), np.array([0.9, 0.1]))
    both = np.array([[2, 0], [0, 2], [1, 1]])
    assert np.isnan(ranking.average_precision(both)).tolist() == [False, True, False]
    nothing = 0.5, lambda counts: np.full(len(counts), np.nan)
    found = bootstrap({"precision": (1.0, ranking.average_precision), "nothing": nothing}, 2)
    assert found["precision"].low == 1.0
    assert (found["nothing"].low, found["nothing"].high) == (0.5, 0.5)


def test_resamples():
    parts = list(_resamples(5, 0, 7))
    assert np.concatenate(parts).shape == (7, 5)
    assert (np.concatenate(parts).sum(1) == 5).all()
    many = np.concatenate(list(_resamples(900_000, 0, 3)))  # in several parts
    assert (many.sum(1) == 900_000).all()
    assert (many[0] == 0).mean() == pytest.approx(np.exp(-1), abs=0.002)


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation():
    values = np.arange(1000) < 800
    interval = mean_interval(values)
    spread = 1.96 * np.sqrt(0.8 * 0.2 / 1000)
    assert interval.value == 0.8
    assert interval.low == pytest.approx(0.8 - spread, abs=0.003)
    assert interval.high == pytest.approx(0.8 + spread, abs=0.003)
    assert mean_interval(values) == interval
    assert mean_interval(values, seed=1) != interval
    assert str(interval).startswith("80.0% (77.")


@pytest.mark.parametrize("count", [1, 30])
def test_all_right_proves_not_all(count):
    exact = stats.binomtest(count, count).proportion_ci(method="exact")
    assert mean_interval(np.ones(count)).low == pytest.approx(exact.low)
    assert mean_interval(np.ones(count)).high == 1.0
    assert mean_interval(np.zeros(count)).high == pytest.approx(1 - exact.low)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    held = 0
    for seed in range(200):
        values = np.random.default_rng(seed).random(150) < 0.7
        interval = mean_interval(values, seed=seed)
        held += interval.low <= 0.7 <= interval.high
    print(f"{held} of 200")
    assert 180 <= held <= 199


def test_the_difference_of_two_models_is_paired():
    one, other = np.arange(400) % 10 < 8, np.arange(400) % 10 < 7
    interval = difference(one, other)
    assert interval.value == pytest.approx(0.1)
    spread = 1.96 * np.sqrt(0.1 * 0.9 / 400)  # of the tenth that differs: unpaired it would be 0.06
    assert interval.high - interval.low == pytest.approx(2 * spread, abs=0.006)


def test_calibration_of_right_and_of_sharpened_probabilities():
    true, right = answers(count=20_000, classes=4)
    assert metrics.ece(right.argmax(1) == true, right.max(1)) < 0.015
    _, sharp = answers(count=20_000, classes=4, temperature=0.4)
    answered = sharp.argmax(1) == true
    assert metrics.ece(answered, sharp.max(1)) == pytest.approx(sharp.max(1).mean() - answered.mean(), abs=0.01)
    assert metrics.figures(true[:500], right[:500])["ece"].value == metrics.ece(
        right[:500].argmax(1) == true[:500], right[:500].max(1)
    )


def test_bins():
    bins = metrics.reliability([True, False, True], [1.0, 1 / 15, 0.99])
    assert [b.count for b in bins] == [1, *[0] * 13, 2]
    assert (bins[0].confidence, bins[0].accuracy) == (1 / 15, 0.0)
    assert (bins[14].confidence, bins[14].accuracy) == (pytest.approx(0.995), 1.0)
    assert metrics.ece([True, False], [0.75, 0.75]) == 0.25
    assert metrics.reliability([], [])[0].count == 0


def test_class_scores_are_those_of_scikit_learn():
    true, probabilities = answers(classes=4)
    said = np.minimum(probabilities.argmax(1), 2)  # the last is never answered
    matrix = metrics.confusion(true, said, 5)
    found = metrics.class_scores(matrix, list("abcde"))
    expected = sk.precision_recall_fscore_support(true, said, labels=range(5), zero_division=0)
    for i, name in enumerate(("precision", "recall", "f1", "images")):
        assert [getattr(row, name) for row in found] == pytest.approx(expected[i])


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 5), (1, 0), (10, 2), (3, 12), (900, 1000), (0, 3000)])
def test_mcnemar_is_the_sign_test(gained, lost):
    one = np.array([True] * gained + [False] * lost + [True] * 7 + [False] * 5)
    other = np.array([False] * gained + [True] * lost + [True] * 7 + [False] * 5)
    expected = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert metrics.mcnemar(one, other) == pytest.approx(expected, rel=1e-9)


def test_holm():
    assert metrics.holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert metrics.holm([0.5, 0.9]) == (1.0, 1.0)
    assert metrics.holm([]) == ()
