"""Trains a small network on Fashion-MNIST, and compares it with one of half as many epochs on the test pictures.

    python examples/fashion_mnist.py runs/fashion

Offline; the pictures are Debian's: apt install dataset-fashion-mnist. Some minutes on a laptop's CPU.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from pathlib import Path

import numpy as np

import visionkit as vk

FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLOTHES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="a new folder for the models")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--pictures", type=int, default=60_000)
    options = parser.parse_args()
    if not FOLDER.is_dir():
        sys.exit(f"{FOLDER} is not there: apt install dataset-fashion-mnist")

    learn, test = pairs("train")[: options.pictures], pairs("t10k")[: max(100, options.pictures // 6)]
    settings = {"validation": 0.1, "batch_size": 128}
    long = vk.train(learn, epochs=options.epochs, out=options.out / "long", **settings)
    short = vk.train(learn, epochs=max(1, options.epochs // 2), out=options.out / "short", **settings)
    print(vk.evaluate([long.folder, short.folder], test))


def pairs(part: str) -> list[tuple[np.ndarray, str]]:
    """The pictures, uint8 (28, 28), each with its label."""
    with gzip.open(FOLDER / f"{part}-images-idx3-ubyte.gz") as file:
        pictures = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(FOLDER / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return [(picture, CLOTHES[label]) for picture, label in zip(pictures, labels, strict=True)]


if __name__ == "__main__":
    main()
