"""What ReLU, dropout and augmentation are worth, on a small AlexNet and few pictures: prints a table.

    python examples/what_alexnet_changed.py

Offline; about ten minutes on a laptop's CPU. `--pictures`, `--epochs` and `--seeds` make it shorter or surer.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from fashion import pairs
from PIL import Image

import visionkit as vk
from visionkit.cnn import AlexNet

SIDE = 64  # AlexNet's strides want at least 63 pixels
VARIANTS = {
    "sigmoid, as before 2012": {"activation": "sigmoid", "dropout": 0.0},
    "ReLU": {"dropout": 0.0},
    "ReLU, dropout": {},
    "ReLU, augmentation": {"dropout": 0.0, "augment": "light"},
    "ReLU, dropout, augmentation": {"augment": "light"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    learn, check = larger(pairs("train", options.pictures)), larger(pairs("test", 1000))

    print("| variant | accuracy on what it learnt | on new pictures | seconds |\n|---|---|---|---|", flush=True)
    for name, settings in VARIANTS.items():
        known, new, seconds = zip(
            *(measured(settings, learn, check, options.epochs, s) for s in range(options.seeds)), strict=True
        )
        print(f"| {name} | {shown(known)} | {shown(new)} | {np.mean(seconds):.0f} |", flush=True)


def measured(settings: dict, learn: list, check: list, epochs: int, seed: int) -> tuple[float, float, float]:
    network = {key: value for key, value in settings.items() if key != "augment"}
    torch.manual_seed(seed)
    started = time.monotonic()
    run = vk.train(
        learn,
        model=AlexNet(10, width=0.125, **network),
        epochs=epochs,
        batch_size=32,
        learning_rate=1e-3,
        augment=settings.get("augment", "none"),
        validation=check,
        seed=seed,
        progress=False,
    )
    seconds = time.monotonic() - started
    answers = vk.classify([image for image, _ in learn], model=run.model)
    known = np.mean([answer.label == label for answer, (_, label) in zip(answers, learn, strict=True)])
    return float(known), run.metrics["accuracy"], seconds


def larger(found: list) -> list:
    return [
        (np.array(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)), label)
        for image, label in found
    ]


def shown(values: tuple[float, ...]) -> str:
    return f"{np.mean(values):.1%} ± {np.ptp(values) / 2:.1%}"


if __name__ == "__main__":
    main()
