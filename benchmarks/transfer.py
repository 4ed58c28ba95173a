"""A head over a frozen network, against the usual loop: `python benchmarks/transfer.py`.

1,000 JPEGs in five classes, cut from photographs that scikit-image and scikit-learn ship; a quarter is set aside. The
usual loop pushes every picture through the network in every epoch: a DataLoader with two workers, torchvision's
transforms, Adam. `vk.fine_tune` does so once, and in a second call not at all. Each measurement has a process of its
own, whose peak memory is told (the loop's with its workers); imports and the building of the network are not counted.

`--loop-epochs 2` runs the loop for fewer epochs and multiplies, which the output says. On faces against anything else
(scikit-image's lfw_subset, four folds) both answers are compared. Run it on an idle machine. Exit code 1 when a bound
is missed; bounds count for 1,000 pictures and 10 epochs.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import skimage.data
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.model_selection import StratifiedKFold
from torch import nn
from torchvision import transforms

import visionkit as vk
from visionkit.pipeline.device import has_bfloat16
from visionkit.training.data import read_data, split

MODELS: Final[dict[str, dict[str, Any]]] = {
    "torchvision:resnet50": {"pretrained": False},
    "visionkit:efficientnet_lite0": {},
}
BOUNDS: Final = {"default": 12.0, "fast": 25.0, "second": 150.0}
"""How many times faster than the loop each must be at least."""

POINT: Final = 0.01
BATCH: Final = 32


def photographs() -> dict[str, np.ndarray]:
    """Five photographs, a class each."""
    china, flower = load_sample_images().images
    named = {"astronaut": skimage.data.astronaut(), "cat": skimage.data.chelsea(), "coffee": skimage.data.coffee()}
    return {**named, "china": china, "flower": flower}


def make_pictures(folder: Path, count: int) -> None:
    """Crops of 60–90% of a side, a little brighter or darker, as JPEGs of 500×375; the same every time."""
    random = np.random.default_rng(0)
    photos = {name: Image.fromarray(array) for name, array in photographs().items()}
    for number in range(count):
        name = list(photos)[number % len(photos)]
        photo = photos[name]
        side = random.uniform(0.6, 0.9)
        width, height = int(photo.width * side), int(photo.height * side)
        left, top = (int(random.uniform(0, room)) for room in (photo.width - width, photo.height - height))
        crop = photo.crop((left, top, left + width, top + height)).resize((500, 375), Image.Resampling.BICUBIC)
        gain = random.uniform(0.8, 1.2)
        crop = Image.fromarray((np.asarray(crop) * gain).clip(0, 255).astype(np.uint8))
        path = folder / name / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        crop.save(path, "JPEG", quality=90)


class Files(torch.utils.data.Dataset):
    """As a tutorial has it: opened by Pillow, transformed one by one."""

    def __init__(self, data: Any, classes: tuple[str, ...], transform: Callable[[Any], Any]) -> None:
        self.data, self.classes, self.transform = data, classes, transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        source = self.data.sources[index]
        picture = Image.fromarray(source) if isinstance(source, np.ndarray) else Image.open(source)
        return self.transform(picture.convert("RGB")), self.classes.index(self.data.labels[index])


def usual_transform(preprocess: vk.Preprocess) -> Callable[[Any], Any]:
    """Torchvision's, of a model's own figures."""
    mode = getattr(transforms.InterpolationMode, preprocess.interpolation.upper())
    steps = [
        transforms.Resize(preprocess.resize_to or min(preprocess.size_wh), mode),
        transforms.CenterCrop(preprocess.size_wh[::-1]),
        transforms.ToTensor(),
        transforms.Normalize(preprocess.mean, preprocess.std),
    ]
    return transforms.Compose(steps)


class Headless(nn.Module):
    """A frozen network up to what enters its last linear layer, and a new head."""

    def __init__(self, module: nn.Module, classes: int) -> None:
        super().__init__()
        name, last = [(n, m) for n, m in module.named_modules() if isinstance(m, nn.Linear)][-1]
        parent = module.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], nn.Identity())
        self.backbone = module.requires_grad_(requires_grad=False).eval()
        self.head = nn.Linear(last.in_features, classes)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(pixels))


def usual_loop(model: Any, learn: Any, check: Any, epochs: int) -> tuple[float, list[float]]:
    """The accuracy after the last epoch, and the seconds of each."""
    torch.manual_seed(0)
    network = Headless(model.module, len(learn.classes))
    transform = usual_transform(model.preprocess)
    loaders = [
        torch.utils.data.DataLoader(Files(data, learn.classes, transform), BATCH, shuffle=i == 0, num_workers=2)
        for i, data in enumerate((learn, check))
    ]
    optimizer = torch.optim.Adam(network.head.parameters(), lr=1e-3)
    seconds, accuracy = [], 0.0
    for _ in range(epochs):
        started = time.perf_counter()
        for pixels, targets in loaders[0]:
            loss = nn.functional.cross_entropy(network(pixels), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        right = 0
        with torch.no_grad():
            for pixels, targets in loaders[1]:
                right += int((network(pixels).argmax(1) == targets).sum())
        accuracy = right / len(check)
        seconds.append(time.perf_counter() - started)
    return accuracy, seconds


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One measurement, in this process."""
    speed = options.part if options.part in ("default", "fast") else "default"
    model = vk.load_model(options.model, device="cpu", speed=speed, **MODELS[options.model])
    if MODELS[options.model]:  # random weights, but the same in every process
        generator = torch.Generator().manual_seed(0)
        for parameter in model.module.parameters():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.03)
    if options.part == "loop":
        learn, check = split(read_data(options.data), 0.25, 0)
        accuracy, epochs = usual_loop(model, learn, check, options.loop_epochs or options.epochs)
        seconds = sum(epochs) * options.epochs / len(epochs)
    else:
        vk.fine_tune(
            [(np.zeros((8, 8), np.uint8), c) for c in "aabb"], model=model, validation=0.5, epochs=1
        )  # imports
        started = time.perf_counter()
        run = vk.fine_tune(
            options.data, model=model, epochs=options.epochs, batch_size=BATCH, cache=Path(options.data, "..", "cache")
        )
        seconds, accuracy = time.perf_counter() - started, run.metrics["accuracy"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if options.part == "loop":
        memory += 2 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # the largest of the workers, of two
    scale = 1 if sys.platform == "darwin" else 1024
    return {"seconds": seconds, "accuracy": accuracy, "gigabytes": memory * scale / 2**30}


def compare_answers(options: argparse.Namespace) -> dict[str, Any]:
    """The accuracy of both on faces against anything else, over four folds."""
    faces = (skimage.data.lfw_subset() * 255).round().astype(np.uint8)
    pairs = [(face, "face" if i < 100 else "no face") for i, face in enumerate(faces)]
    labels = [label for _, label in pairs]
    totals = {"ours": 0.0, "loop": 0.0}
    for learn, check in StratifiedKFold(4, shuffle=True, random_state=0).split(pairs, labels):
        ours, theirs = ([pairs[i] for i in part] for part in (learn, check))
        model = vk.load_model("visionkit:efficientnet_lite0", device="cpu")
        run = vk.fine_tune(ours, validation=theirs, model=model, epochs=options.epochs, cache=False)
        totals["ours"] += run.metrics["accuracy"] / 4
        totals["loop"] += usual_loop(model, read_data(ours), read_data(theirs), options.epochs)[0] / 4
    return totals


def in_own_process(part: str, model: str, options: argparse.Namespace, data: Path) -> dict[str, Any]:
    """A measurement in a process that has done nothing else."""
    command = [sys.executable, __file__, "--part", part, "--model", model, "--data", str(data)]
    command += ["--epochs", str(options.epochs), "--loop-epochs", str(options.loop_epochs)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(name: str, options: argparse.Namespace, folder: Path) -> list[str]:
    """Prints a model's rows; returns the bounds that it missed."""
    (folder / name).mkdir()
    data = folder / name / "data"
    make_pictures(data, options.images)
    loop = in_own_process("loop", name, options, data)
    told = f", from {options.loop_epochs} epochs" if options.loop_epochs else ""
    print(f"\n{name}: {options.images} JPEGs, {options.epochs} epochs, head only")
    line = "  {:28} {:9.1f} s {:8.1f} times  peak {:4.1f} GB  {:6.1%} right{}"
    print(line.format("usual loop, 2 workers", loop["seconds"], 1.0, loop["gigabytes"], loop["accuracy"], told))
    missed = []
    for part, title in (("default", "vk.fine_tune"), ("second", "the second run"), ("fast", 'speed="fast"')):
        if part == "fast" and not has_bfloat16():
            print(f"  {title:28} not measured: this processor has no bfloat16")
            continue
        found = in_own_process(part, name, options, data)
        gain = loop["seconds"] / found["seconds"]
        print(line.format(title, found["seconds"], gain, found["gigabytes"], found["accuracy"], ""))
        if gain < BOUNDS[part]:
            missed.append(f"{name}: {title} is {gain:.1f} times faster, not {BOUNDS[part]:.0f}")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--loop-epochs", type=int, default=0, help="run the loop for fewer epochs, and multiply")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--no-faces", action="store_true", help="leave out the comparison of answers")
    for internal in ("--part", "--model", "--data"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(measure(options)))
        return 0
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            missed += report(name, options, Path(folder))
    if (options.images, options.epochs) != (1000, 10):
        print("\nbounds are not looked at: they are for 1,000 pictures and 10 epochs")
        missed = []
    if not options.no_faces:
        answers = compare_answers(options)
        print(f"\nfaces against anything else: vk.fine_tune {answers['ours']:.1%}, usual loop {answers['loop']:.1%}")
        if answers["ours"] < answers["loop"] - POINT:
            missed.append("vk.fine_tune is more than a point below the loop")
    for text in missed:
        print(f"MISSED: {text}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
