"""Draws the pictures of the page "How machines see" from the example photographs: `python docs/figures.py`.

With `--check` nothing is written, and the exit code is 1 where a picture in `docs/images` is another.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import visionkit as vk

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = ROOT / "examples" / "images"
IMAGES = ROOT / "docs" / "images"
INK, PAPER = (40, 40, 40), (255, 255, 255)
TOLERANCE = 3.0
"""Levels, on average: versions of Pillow draw letters a little differently."""

CORNER_XY = (186, 118)
"""The left upper corner of the square of the cat that is enlarged."""
SQUARE = 6


def pixels() -> Image.Image:
    """The cat, and a few of its pixels with their three numbers."""
    photo = vk.load_image(PHOTOS / "cat.jpg")
    left, top = CORNER_XY
    cell = 50
    side = cell * SQUARE
    sheet = Image.new("RGB", (photo.width + 12 + side, max(photo.height, side)), PAPER)
    sheet.paste(photo)
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left - 2, top - 2, left + SQUARE + 1, top + SQUARE + 1), outline=(255, 0, 0))
    values = np.asarray(photo)[top : top + SQUARE, left : left + SQUARE]
    font = ImageFont.load_default(12)
    for (row, column), _ in np.ndenumerate(values[:, :, 0]):
        red, green, blue = values[row, column].tolist()
        x, y = photo.width + 12 + column * cell, row * cell
        draw.rectangle((x, y, x + cell - 1, y + cell - 1), fill=(red, green, blue))
        light = 0.299 * red + 0.587 * green + 0.114 * blue > 128
        draw.multiline_text((x + 14, y + 2), f"{red}\n{green}\n{blue}", font=font, fill=INK if light else PAPER)
    return sheet


def channels() -> Image.Image:
    """The rocket in colour, and its red, green and blue numbers as greys."""
    photo = vk.load_image(PHOTOS / "rocket.jpg").reduce(3)
    planes = [plane.convert("RGB") for plane in photo.split()]
    return row([photo, *planes], ["red, green, blue", "red alone", "green alone", "blue alone"])


def fits() -> Image.Image:
    """The coffee in a square input, in the three ways."""
    ways = ("shortest", "squash", "letterbox")
    shown = []
    for resize in ways:
        preprocess = vk.Preprocess(size_wh=(224, 224), resize=resize)
        batch = next(vk.Batches([PHOTOS / "coffee.jpg"], preprocess, device="cpu", speed="exact"))
        shown.append(vk.to_image(batch.pixels[0]))
    return row([vk.load_image(PHOTOS / "coffee.jpg").resize((336, 224)), *shown], ["the picture", *ways])


def row(pictures: list[Image.Image], titles: list[str]) -> Image.Image:
    """Pictures side by side, each under its title."""
    gap, head = 8, 22
    width = sum(p.width for p in pictures) + gap * (len(pictures) - 1)
    sheet = Image.new("RGB", (width, head + max(p.height for p in pictures)), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    x = 0
    for picture, title in zip(pictures, titles, strict=True):
        draw.text((x, 1), title, font=font, fill=INK)
        sheet.paste(picture, (x, head))
        x += picture.width + gap
    return sheet


FIGURES: dict[str, Callable[[], Image.Image]] = {"pixels": pixels, "channels": channels, "fits": fits}


def difference(path: Path, drawn: Image.Image) -> float:
    """Mean difference of a file to a drawing, in levels; of another size, infinite."""
    with Image.open(path) as image:
        there = image.convert("RGB")
    if there.size != drawn.size:
        return float("inf")
    return float(np.abs(np.asarray(there, np.int16) - np.asarray(drawn, np.int16)).mean())


def main() -> int:
    """Draws, or checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, and compare")
    check = parser.parse_args().check
    missed = 0
    for name, draw in FIGURES.items():
        path = IMAGES / f"{name}.jpg"
        if not check:
            draw().save(path, quality=88)
        elif not path.is_file() or difference(path, draw()) > TOLERANCE:
            print(f"{path.relative_to(ROOT)} is another: run python docs/figures.py", file=sys.stderr)
            missed = 1
    return missed


if __name__ == "__main__":
    sys.exit(main())
