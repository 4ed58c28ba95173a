"""Teaches a network trained on ImageNet to tell faces from anything else, with 200 small grey pictures.

    python examples/faces.py runs/faces

Offline; the pictures come with scikit-image. Some seconds on a laptop's CPU.
"""

from __future__ import annotations

import argparse

import numpy as np
import skimage.data

import visionkit as vk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="a new folder for the model")
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()

    pictures = np.rint(skimage.data.lfw_subset() * 255).astype(np.uint8)  # 25×25; the first hundred are faces
    pairs = [(picture, "face" if i < 100 else "no face") for i, picture in enumerate(pictures)]
    run = vk.fine_tune(pairs, epochs=options.epochs, out=options.out)
    print(run)
    print(f"accuracy {run.figures['accuracy']}, area under the curve {run.figures['auroc']}")
    print(f"the report: {run.folder / 'report.html'}")


if __name__ == "__main__":
    main()
