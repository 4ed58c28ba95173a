"""Files to normalised (3, 224, 224) batches, against what people use: `nox -s bench`.

The files are made from scikit-image's photographs. All ways load the same files in turn, so that a busy moment meets
them all; the median of each way's ratio to the reference in the same round counts. Every safety check is on.
`--markdown docs/tables/loading.md` also writes the table of the documentation's page "Speed and fidelity".
Exit code 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch
from open_clip.transform import image_transform
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPImageProcessor

from visionkit.pipeline import Batches, Preprocess

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
CLIP = Preprocess(size_wh=(224, 224), mean=MEAN, std=STD)
BATCH = 32
LEVEL = 1 / (255 * min(STD))
"""One 8-bit level after normalising, at most."""
MEAN_BOUND = 0.004
"""The most that the default speed may differ from the reference on average, in normalised units."""

KINDS = {  # kind → size, file format, bounds of our speeds: times as fast as the reference
    "500×375 JPEG": ((500, 375), "JPEG", {"exact": 4.3}),
    "12 MP JPEG": ((4000, 3000), "JPEG", {"exact": 5.0, "default": 7.5}),
    "1024² PNG": ((1024, 1024), "PNG", {"exact": 4.0}),
}
REFERENCE = "open_clip's transform"
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")

reference = image_transform(224, is_train=False, mean=MEAN, std=STD)
processor = CLIPImageProcessor(
    size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}, image_mean=MEAN, image_std=STD
)


class Files(Dataset[Tensor]):
    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return open_clip_one(self.paths[index])


def open_clip_one(path: Path) -> Tensor:
    with Image.open(path) as image:
        values: Tensor = reference(image)
    return values


def open_clip_loop(paths: Sequence[Path]) -> list[Tensor]:
    return [torch.stack([open_clip_one(p) for p in paths[at : at + BATCH]]) for at in range(0, len(paths), BATCH)]


def transformers_loop(paths: Sequence[Path]) -> list[Tensor]:
    batches = []
    for at in range(0, len(paths), BATCH):
        images = [Image.open(path).convert("RGB") for path in paths[at : at + BATCH]]
        batches.append(processor(images=images, return_tensors="pt")["pixel_values"])
    return batches


def ours(speed: str) -> Callable[[Sequence[Path]], list[Tensor]]:
    return lambda paths: [b.pixels for b in Batches(paths, CLIP, batch_size=BATCH, device="cpu", speed=speed)]


def make_files(folder: Path, size_wh: tuple[int, int], kind: str, count: int) -> list[Path]:
    """Photographs cut, flipped and enlarged to one size, with a little noise as cameras have it."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        photo = Image.fromarray(getattr(skimage.data, PHOTOS[number % len(PHOTOS)])())
        shape = size_wh[0] / size_wh[1]
        width = min(photo.width, int(photo.height * shape)) * rng.uniform(0.7, 1.0)
        left, top = (rng.uniform(0, 1, 2) * (photo.width - width, photo.height - width / shape)).tolist()
        box = (left, top, left + width, top + width / shape)
        photo = photo.resize(size_wh, Image.Resampling.BICUBIC, box=box)
        noise = rng.normal(0, 2, (size_wh[1] // 2 + 1, size_wh[0] // 2 + 1, 1)).repeat(2, 0).repeat(2, 1)
        pixels = np.asarray(photo) + noise[: size_wh[1], : size_wh[0]]
        paths.append(folder / f"{number}.{kind.lower()}")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(paths[-1], kind, quality=90)
    return paths


def measure(paths: Sequence[Path], repeats: int) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Seconds of each way in each round, and what it gave."""
    loader: DataLoader[Tensor] = DataLoader(Files(paths), batch_size=BATCH, num_workers=2, persistent_workers=True)
    ways: dict[str, Callable[[Sequence[Path]], list[Tensor]]] = {
        REFERENCE: open_clip_loop,
        "DataLoader, 2 workers": lambda _: list(loader),
        "transformers' processor": transformers_loop,
        "visionkit exact": ours("exact"),
        "visionkit default": ours("default"),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    given: dict[str, Tensor] = {}
    for name, way in ways.items():
        given[name] = torch.cat(way(paths))  # also starts the loader's workers
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way(paths)
            times[name].append(time.perf_counter() - start)
    return times, given


Row = tuple[str, str, float, float, float, float]
"""Kind of files, way, images a second, ratio to the reference, largest difference in levels, mean difference."""


def report(kind: str, paths: Sequence[Path], repeats: int, bounds: dict[str, float]) -> tuple[list[Row], list[str]]:
    """Prints one kind's table; its rows, and the bounds that were missed."""
    times, given = measure(paths, repeats)
    base = times[REFERENCE]
    truth = given[REFERENCE]
    table: list[Row] = []
    missed = []
    head = f"{kind}, {len(paths)} files"
    print(f"\n{head:<26}{'images/s':>9}{'ratio':>7}{'(range)':>14}{'max, levels':>13}{'mean':>9}")
    for name, seconds in times.items():
        ratios = [b / s for b, s in zip(base, seconds, strict=True)]
        ratio = statistics.median(ratios)
        difference = (given[name] - truth).abs()
        rate = len(paths) / statistics.median(seconds)
        table.append((kind, name, rate, ratio, float(difference.max()) / LEVEL, float(difference.mean())))
        line = f"{name:<26}{rate:>9.0f}{ratio:>7.2f}"
        spread = f"{min(ratios):.1f}–{max(ratios):.1f}"
        line += f"{spread:>14}{difference.max() / LEVEL:>13.2f}{difference.mean():>9.4f}"
        speed = name.removeprefix("visionkit ")
        verdicts = []
        if speed in bounds:
            verdicts.append((ratio >= bounds[speed], f"at least {bounds[speed]} times"))
        if speed == "exact":
            further = int((difference > LEVEL * 1.001).sum())
            said = f"max 1 level ({further} of {difference.numel()} values are further off)"
            verdicts.append((further == 0, said))
        if speed == "default":
            verdicts.append((float(difference.mean()) <= MEAN_BOUND, f"mean {MEAN_BOUND}"))
        print(line, *(f"  {'met' if met else 'MISSED'}: {bound}" for met, bound in verdicts))
        missed += [f"{kind}, {name}: {bound}" for met, bound in verdicts if not met]
    return table, missed


def markdown(machine: str, table: Sequence[Row]) -> str:
    """The table as the documentation includes it."""
    lines = [
        f"Measured on {machine}; batches of {BATCH}, medians.",
        "",
        "| files | way | images/s | times the reference | largest difference, levels | mean difference |",
        "|---|---|---|---|---|---|",
    ]
    for kind, name, rate, ratio, most, mean in table:
        way, _, speed = name.partition("visionkit ")
        shown = f'visionkit, `speed="{speed}"`' if speed else way + " (the reference)" * (way == REFERENCE)
        lines.append(f"| {kind} | {shown} | {rate:.0f} | {ratio:.2f} | {most:.2f} | {mean:.4f} |")
    return "\n".join([*lines, ""])


def main() -> int:
    """Measures, prints, and says which bounds are missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="rounds; the median counts")
    parser.add_argument("--files", type=int, default=128, help="small files; a quarter as many PNGs and 12 MP JPEGs")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only these")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the documentation's table there")
    parser.add_argument("--machine", default="", help="what the table calls the processor, as in 'AMD EPYC'")
    options: Any = parser.parse_args()
    warnings.simplefilter("ignore")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{cores} cores, {torch.get_num_threads()} torch threads, median of {options.repeats} rounds")
    table: list[Row] = []
    missed: list[str] = []
    for kind, (size_wh, file_format, bounds) in KINDS.items():
        if options.kind and kind not in options.kind:
            continue
        with tempfile.TemporaryDirectory() as folder:
            count = options.files if size_wh[0] < 1000 else max(8, options.files // 4)
            files = make_files(Path(folder), size_wh, file_format, count)
            rows, lines = report(kind, files, options.repeats, bounds)
            table += rows
            missed += lines
    if options.markdown:
        machine = f"{cores} cores of {options.machine or platform.machine()}"
        machine += f" ({torch.backends.cpu.get_cpu_capability()}), torch {torch.__version__.partition('+')[0]}"
        options.markdown.write_text(markdown(machine, table), encoding="utf-8")
    for line in missed:
        print(f"MISSED: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
