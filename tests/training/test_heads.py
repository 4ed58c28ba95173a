"""Heads over frozen features, on data that is real, and on data that is odd."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.datasets import load_digits
from torch import nn

import visionkit as vk


@pytest.mark.slow
def test_digits_to_97_percent():
    """8×8 grey digits, enlarged to what the embedded network takes: a linear head is enough."""
    data = load_digits()
    # A margin of two pixels: the digits reach the edges, which the network's centre crop would cut (96.2% without).
    pictures = np.pad((data.images / 16 * 255).round().astype(np.uint8), ((0, 0), (2, 2), (2, 2)))
    run = vk.fine_tune([(picture, str(target)) for picture, target in zip(pictures, data.target, strict=True)])
    interval = run.figures["accuracy"]
    print(f"digits by a linear head: {run.metrics['accuracy']:.2%}, interval {interval.low:.2%}–{interval.high:.2%}")
    assert run.metrics["validation_images"] == 450
    assert run.metrics["accuracy"] >= 0.97
    assert interval.low <= run.metrics["accuracy"] <= interval.high


@pytest.mark.parametrize(
    "labels", [(" cat", "cat"), ("<script>alert(1)</script>", "猫"), ('a"b', "a\nb"), ("$x$", "%s")]
)
def test_odd_labels_are_learnt_answered_and_reported(labels, tmp_path):
    pairs = [(np.full((6, 6, 3), 20 + 200 * (i % 2) + i, np.uint8), labels[i % 2]) for i in range(16)]
    run = vk.fine_tune(pairs, epochs=2, model="visionkit:simple_cnn", out=tmp_path / "run")
    assert set(run.labels) == set(labels)
    assert set(vk.classify(pairs[0][0], model=tmp_path / "run").scores) == set(labels)
    assert set(run.data.counts) == set(labels)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<script>" not in page


@pytest.mark.slow
def test_ten_thousand_classes():
    """Two pictures of each: all is counted, a head is trained, and nothing grows with the square of the classes."""
    random = np.random.default_rng(0)
    pairs = [
        (colour.reshape(1, 1, 3).repeat(2, 0), f"{i // 2:05}")
        for i, colour in enumerate(random.integers(0, 256, (20_000, 3), dtype=np.uint8))
    ]
    started = time.process_time()
    colours = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = vk.wrap_model(colours, preprocess=vk.Preprocess(size_wh=(2, 2)), device="cpu")
    run = vk.fine_tune(pairs, epochs=1, batch_size=512, model=model, validation=pairs[:200])
    print(f"10,000 classes, 20,000 pictures: {time.process_time() - started:.1f} CPU-s")
    assert len(run.labels) == len(run.data.counts) == 10_000
    assert run.confusion == ()
    assert run.metrics["validation_images"] == 200
    assert len(repr(run.data)) < 2000
