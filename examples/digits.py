"""Trains a small network on scikit-learn's handwritten digits, and writes its report.

    python examples/digits.py runs/digits

Offline; half a minute on a laptop's CPU.
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.datasets import load_digits

import visionkit as vk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="a new folder for the model")
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()

    digits = load_digits()
    pairs = [
        (np.rint(picture * (255 / 16)).astype(np.uint8), f"digit {number}")
        for picture, number in zip(digits.images, digits.target, strict=True)
    ]
    run = vk.train(pairs, epochs=options.epochs, out=options.out)
    print(run)
    print(f"accuracy {run.figures['accuracy']}, calibration error {run.calibration.after}")
    print(f"the report: {run.folder / 'report.html'}")


if __name__ == "__main__":
    main()
