"""What the forms of a network gain on a CPU, and what they keep: `python benchmarks/inference.py`.

`--markdown docs/tables/inference.md` also writes the table of the documentation's page "Speed and fidelity".

Each row is the whole forward pass of a batch of real photographs, through a model at one `speed=`; plain eager float32
is the module called as torch calls it. The rows run in turn, so that a busy moment meets them all, and the median
counts. Other work on the same cores lowers all figures: run it on an idle machine.
Exit code 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import logging
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

import visionkit as vk
from visionkit.models.calibrating import calibrate
from visionkit.models.openvino import has_vnni
from visionkit.pipeline.device import has_bfloat16

PHOTOS = sorted((Path(__file__).resolve().parent.parent / "examples" / "images").glob("*.jpg"))
BATCH: Final = 32
MODELS: Final = {
    "visionkit:efficientnet_lite0": {},
    "torchvision:resnet50": {"pretrained": False},
}
BOUNDS: Final = {  # (model, speed) → the least gain over plain eager float32
    ("visionkit:efficientnet_lite0", "default"): 1.4,
    ("torchvision:resnet50", "default"): 1.4,
    ("torchvision:resnet50", "fast"): 2.8,
    ("visionkit:efficientnet_lite0", "fastest"): 3.0,
    ("torchvision:resnet50", "fastest"): 7.0,
}
LEAST_COSINE: Final = {"default": 0.99999, "fast": 0.999, "fastest": 0.99}
LEAST_AGREEMENT: Final = {("visionkit:efficientnet_lite0", "fastest"): 0.97}
CALIBRATION: Final = 192


def photographs(preprocess: vk.Preprocess) -> vk.pipeline.Batch:
    """A batch of crops of the project's photographs, each another."""
    pictures = []
    for number in range(BATCH):
        picture = vk.load_image(PHOTOS[number % len(PHOTOS)])
        step = number // len(PHOTOS)
        width, height = picture.size
        pictures.append(picture.crop((step * width // 40, step * height // 40, width - step * width // 50, height)))
    return next(vk.Batches(pictures, preprocess, batch_size=BATCH, device="cpu", speed="exact"))


def crops(count: int) -> Iterator[vk.images.Picture]:
    """Other crops of the same photographs: what `speed="fastest"` learns from."""
    for number in range(count):
        picture = vk.load_image(PHOTOS[number % len(PHOTOS)])
        width, height = picture.size
        left, top = (number * 7) % 40 * width // 100, (number * 11) % 40 * height // 100
        yield picture.crop((left, top, left + width * 6 // 10, top + height * 6 // 10))


def agreement(ours: Tensor, theirs: Tensor) -> float:
    """How often the best label is the same, in 0–1."""
    return float((ours.argmax(1) == theirs.argmax(1)).float().mean())


def measure(rows: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each row, after one run that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in rows}
    for run in rows.values():
        run()
    for _ in range(repeats):
        for name, run in rows.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


Row = tuple[str, str, float, float, float | None, float | None]
"""Network, way, images a second, gain, cosine of the features, share of the same best labels."""


def compare(name: str, speeds: Sequence[str], repeats: int) -> tuple[list[Row], list[str]]:
    """Prints the table of one network; returns its rows, and the bounds that it misses."""
    torch.manual_seed(0)
    plain = vk.load_model(name, device="cpu", speed="exact", **MODELS[name])
    batch = photographs(plain.preprocess)
    pixels = batch.pixels.contiguous()
    models = {}
    for speed in speeds:
        models[speed] = vk.load_model(name, device="cpu", speed=speed, **MODELS[name])
        models[speed].module.load_state_dict(plain.module.state_dict())
        if speed == "fastest":
            calibrate(models[speed], crops(CALIBRATION))

    def eager() -> Tensor:
        with torch.inference_mode():
            logits: Tensor = plain.module(pixels)
        return logits

    rows: dict[str, Callable[[], Any]] = {"plain eager float32": eager}
    rows.update({speed: lambda model=model: model.class_logits(batch) for speed, model in models.items()})
    seconds = measure(rows, repeats)
    print(f"\n{name}, batch {BATCH}, median of {repeats}")
    print(f"{'':<22}{'images/s':>10}{'gain':>8}{'cosine':>10}{'top-1':>8}")
    print(f"{'plain eager float32':<22}{BATCH / seconds['plain eager float32']:>10.1f}{1:>8.2f}")
    table: list[Row] = [(name, "plain eager float32", BATCH / seconds["plain eager float32"], 1.0, None, None)]
    missed = []
    logits, features = eager(), plain.image_features(batch)
    for speed, model in models.items():
        gain = seconds["plain eager float32"] / seconds[speed]
        cosine = float(torch.cosine_similarity(model.image_features(batch), features).min())
        same = agreement(model.class_logits(batch), logits)
        print(f"{speed:<22}{BATCH / seconds[speed]:>10.1f}{gain:>8.2f}{cosine:>10.6f}{same:>8.1%}")
        table.append((name, f'`speed="{speed}"`', BATCH / seconds[speed], gain, cosine, same))
        bound = BOUNDS.get((name, speed))
        if bound is not None:
            print(f"{'':<22}at least {bound}: {'met' if gain >= bound else 'MISSED'}")
            missed += [f"{name} {speed} gains {gain:.2f}, the bound is {bound}"] if gain < bound else []
        if cosine < LEAST_COSINE.get(speed, 1 - 1e-6):
            missed.append(f"{name} {speed}: cosine {cosine:.6f}")
        if same < LEAST_AGREEMENT.get((name, speed), 0):
            missed.append(f"{name} {speed}: the best label is the same for {same:.1%}")
    return table, missed


def markdown(machine: str, table: Sequence[Row], notes: Sequence[str]) -> str:
    """The table as the documentation includes it."""
    lines = [
        f"Measured on {machine}; batches of {BATCH}, medians.",
        "",
        "| network | way | images/s | times plain eager | cosine of the features | best label the same |",
        "|---|---|---|---|---|---|",
    ]
    for name, way, rate, gain, cosine, same in table:
        weights = "" if MODELS[name].get("pretrained", True) else ", random weights"
        kept = "– | –" if cosine is None or same is None else f"{cosine:.6f} | {same:.0%}"
        lines.append(f"| `{name}`{weights} | {way} | {rate:.1f} | {gain:.2f} | {kept} |")
    return "\n".join([*lines, *(f"\n{note}" for note in notes), ""])


def main() -> int:
    """Measures, prints, and says what is over its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each row; the median counts")
    parser.add_argument("--model", choices=list(MODELS), help="one network only")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the documentation's table there")
    parser.add_argument("--machine", default="", help="what the table calls the processor, as in 'AMD EPYC'")
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    notes = []
    speeds = ["exact", "default"]
    if has_bfloat16():
        speeds.append("fast")
    else:
        print("this processor has no bfloat16: speed='fast' is 'default' here, and its bound is not measured")
        notes.append('This processor has no bfloat16: `speed="fast"` is `"default"` on it, and is not in the table.')
    if find_spec("openvino") and find_spec("nncf"):
        speeds.append("fastest")
        logging.basicConfig(format="%(message)s")
        logging.getLogger("visionkit").setLevel(logging.INFO)  # which form it is, and how near
        if not has_vnni():
            print("this processor has no VNNI: int8 gains less here; the bound stays")
            notes.append('This processor has no VNNI, which adds products of 8 bits: with it `"fastest"` gains more.')
    else:
        print("OpenVINO is not installed (the extra `openvino`): speed='fastest' is not measured")
    names = [arguments.model] if arguments.model else list(MODELS)
    compared = [compare(name, speeds, arguments.repeats) for name in names]
    missed = [line for _, lines in compared for line in lines]
    if arguments.markdown:
        machine = f"{torch.get_num_threads()} cores of {arguments.machine or platform.machine()}"
        machine += f" ({torch.backends.cpu.get_cpu_capability()}), torch {torch.__version__.partition('+')[0]}"
        table = [row for rows, _ in compared for row in rows]
        arguments.markdown.write_text(markdown(machine, table, notes), encoding="utf-8")
    for line in missed:
        print(f"MISSED: {line}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
