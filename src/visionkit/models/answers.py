"""What a model says of a few pictures that come from files, to hold against what it says at another time or place."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from ..images import load_image
from ..pipeline import Batches
from .forms import exactly
from .protocols import Classifier, ImageEmbedder

if TYPE_CHECKING:
    from .protocols import Savable

TOLERANCE: Final = 1e-4
"""The largest difference of probabilities, and of values of feature vectors of length 1, at which answers are equal."""

_SIZES_WH: Final = ((96, 64), (61, 97), (40, 40), (200, 150))


def answers_of(model: Any) -> dict[str, Tensor]:
    """What a model says, exactly, of pictures that come from files.

    Returns:
        "scores", probabilities (N, K), of a classifier; "features", (N, D) of length 1, of an embedder; float32 on the
        CPU. Nothing for a model of another kind.
    """
    if not isinstance(model, (Classifier, ImageEmbedder)):
        return {}
    parts: dict[str, list[Tensor]] = {}
    with tempfile.TemporaryDirectory(prefix="visionkit-") as place, exactly():
        files = _write_pictures(Path(place))
        with closing(Batches(files, model.preprocess, device=model.device, speed="exact")) as batches:
            for batch in batches:
                if isinstance(model, Classifier):
                    parts.setdefault("scores", []).append(model.class_logits(batch).float().softmax(1))
                if isinstance(model, ImageEmbedder):
                    features = model.image_features(batch).float()
                    parts.setdefault("features", []).append(nn.functional.normalize(features))
    return {name: torch.cat(rows).detach().cpu() for name, rows in parts.items()}


def largest_difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """Over all answers; infinite where their kinds or shapes differ, or one is no number."""
    if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
        return float("inf")
    found = [float((ours[name] - theirs[name]).abs().max()) for name in ours if ours[name].numel()]
    return float("inf") if any(np.isnan(found)) else max(found, default=0.0)


@contextmanager
def at_rest(model: Savable) -> Iterator[None]:
    """Within it the model's module is in evaluation mode, part by part as it was after it."""
    layers = list(model.module.modules())
    training = [layer.training for layer in layers]
    try:
        for layer in layers:
            layer.training = False
        yield
    finally:
        for layer, mode in zip(layers, training, strict=True):
            layer.training = mode


def _write_pictures(folder: Path) -> list[Path]:
    """A few files of several shapes, colour and grey, always the same: slopes, a disc, and some noise."""
    random = np.random.Generator(np.random.PCG64(0))
    files = []
    for number, (width, height) in enumerate(_SIZES_WH):
        y, x = np.mgrid[0:height, 0:width].astype(np.float64) / (height, width)[0]
        disc = (x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.05 * (1 + number)
        planes = np.stack([x, y, 1 - x * y], 2) * 200 + disc[..., None] * [50, -60, 30] + random.normal(0, 6, (1, 1, 3))
        pixels = (planes + random.integers(-20, 21, (height, width, 1))).clip(0, 255).astype(np.uint8)
        path = folder / f"{number}.png"
        load_image(pixels[..., 0] if number == 2 else pixels).save(path)
        files.append(path)
    return files
