"""Small grey pictures for the other scripts: Fashion-MNIST where it is installed, else scikit-learn's digits."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

FOLDER = Path("/usr/share/datasets/fashion-mnist")  # Debian: apt install dataset-fashion-mnist
CLOTHES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def pairs(part: str, count: int) -> list[tuple[np.ndarray, str]]:
    """The first pictures, uint8 (28, 28) or (8, 8), of "train" or "test", each with its label."""
    if not FOLDER.is_dir():
        return _digits(part)[:count]
    prefix = {"train": "train", "test": "t10k"}[part]
    with gzip.open(FOLDER / f"{prefix}-images-idx3-ubyte.gz") as file:
        pictures = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(FOLDER / f"{prefix}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return [(pictures[i], CLOTHES[labels[i]]) for i in range(count)]


def _digits(part: str) -> list[tuple[np.ndarray, str]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    found = [
        (np.rint(picture * (255 / 16)).astype(np.uint8), str(number))
        for picture, number in zip(digits.images, digits.target, strict=True)
    ]
    order = np.random.default_rng(0).permutation(len(found))
    cut = len(found) // 4
    return [found[i] for i in (order[cut:] if part == "train" else order[:cut])]
