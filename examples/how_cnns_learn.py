"""Trains SimpleCNN on small pictures, and draws what each of its layers learnt to look for.

    python examples/how_cnns_learn.py docs/images

Offline; some minutes on a laptop's CPU. `--pictures` and `--epochs` make it shorter.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from fashion import pairs
from PIL import Image

import visionkit as vk
from visionkit.cnn import SimpleCNN

LEVELS = ("features.1", "features.4", "features.7")  # what each convolution gives, after its ReLU
SHOWN = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the folder for the pictures")
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    learn, check = pairs("train", options.pictures), pairs("test", max(200, options.pictures // 5))
    run = vk.train(learn, model=network(), epochs=options.epochs, validation=check, seed=0)
    for record in run.history:
        print(f"epoch {record.epoch}: accuracy {record.accuracy:.1%}")
    model = run.model

    save(vk.show_filters(model).image, options.out / "cnn-filters.png")
    picture = next(image for image, label in check if label in ("sneaker", "3"))
    save(vk.show_activations(picture, model=model, layers=LEVELS).image, options.out / "cnn-activations.png")
    images = [image for image, _ in check][:1000]
    for level, layer in enumerate(LEVELS, 1):
        save(stacked(excited(model, layer, images)), options.out / f"cnn-level-{level}.png")
    answers = vk.classify(images, model=model)
    rows = [sorted(range(len(images)), key=lambda i: -answers[i].scores[label])[:SHOWN] for label in run.labels]
    save(vk.load_image(sheet(images, rows)), options.out / "cnn-level-4.png")
    heats = [vk.explain(images[row[0]], model=model) for row in rows]
    print("faithfulness", " ".join(f"{heat.faithfulness:+.2f}" for heat in heats))
    drawn = [
        heat.overlay(images[row[0]]).resize((112, 112), Image.Resampling.NEAREST)
        for heat, row in zip(heats, rows, strict=True)
    ]
    save(side_by_side(drawn), options.out / "cnn-heat.png")


def network() -> SimpleCNN:
    """A network whose filters have three colours alike, which grey pictures keep alike: they are grey to look at."""
    torch.manual_seed(0)
    fresh = SimpleCNN(10)
    with torch.no_grad():
        first = fresh.features[0].weight
        first.copy_(first.mean(1, keepdim=True).expand_as(first) * 3**0.5)
    return fresh


def excited(model: object, layer: str, images: list) -> list[Image.Image]:
    """The patches of the six channels, of the first sixteen, that are excited most."""
    found = [vk.top_patches(model, layer, channel, images, count=SHOWN) for channel in range(16)]
    best = sorted(found, key=lambda patches: -patches.patches[0].activation)[:6]
    return [patches.image for patches in best]


def sheet(images: list, rows: list[list[int]]) -> Image.Image:
    """The pictures of each row, three times as large."""
    tall, wide = images[0].shape
    drawn = Image.new("L", (len(rows[0]) * (wide + 2), len(rows) * (tall + 2)), 255)
    for y, row in enumerate(rows):
        for x, index in enumerate(row):
            drawn.paste(Image.fromarray(images[index]), (x * (wide + 2), y * (tall + 2)))
    return drawn.resize((drawn.width * 3, drawn.height * 3), Image.Resampling.NEAREST)


def stacked(pictures: list[Image.Image]) -> Image.Image:
    drawn = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
    top = 0
    for picture in pictures:
        drawn.paste(picture, (0, top))
        top += picture.height
    return drawn


def side_by_side(pictures: list[Image.Image]) -> Image.Image:
    return stacked([p.transpose(Image.Transpose.TRANSPOSE) for p in pictures]).transpose(Image.Transpose.TRANSPOSE)


def save(picture: Image.Image, path: Path) -> None:
    """With a palette, which halves the file and is not seen."""
    picture.quantize(128).save(path, optimize=True)
    print(f"{path}: {picture.width}×{picture.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
