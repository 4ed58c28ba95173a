"""Saved models prove themselves: pictures go from their files through a fresh load, and the answers are compared."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from ..errors import ModelLoadError
from ..images import load_image
from ..pipeline import Batches
from .folder import ANSWERS_FILE, read_file, read_settings
from .forms import exactly
from .protocols import Classifier, ImageEmbedder

if TYPE_CHECKING:
    from .protocols import Savable

TOLERANCE: Final = 1e-4
"""The largest difference of probabilities, and of values of feature vectors of length 1, at which answers are equal."""

_SIZES_WH: Final = ((96, 64), (61, 97), (40, 40), (200, 150))
_MAX_ANSWERS_BYTES: Final = 64 * 2**20


class ParityReport(BaseModel):
    """Whether a saved model answers as it did when it was saved.

    Attributes:
        folder: the model's.
        inputs: pictures that went through it; 0 for a model whose answers are none that can be compared.
        max_difference: the largest of all probabilities, and of all values of the feature vectors at length 1.
        tolerance: the most that it may be.
        passed: it is not above.
    """

    model_config = ConfigDict(frozen=True)

    folder: str
    inputs: int
    max_difference: float
    tolerance: float
    passed: bool

    def __str__(self) -> str:
        said = "the same answers as when it was saved" if self.passed else "NOT the answers of when it was saved"
        return (
            f"{self.folder}: {said}, for {self.inputs} pictures; "
            f"largest difference {self.max_difference:.2g}, tolerance {self.tolerance:.2g}"
        )


def verify(
    folder: str | os.PathLike[str],
    *,
    module: nn.Module | None = None,
    device: str | torch.device | None = None,
    tolerance: float = TOLERANCE,
) -> ParityReport:
    """Loads a saved model afresh, and compares what it answers with what it answered when it was saved.

    The weights, labels and preprocessing are held against their digests, and a few pictures go from their files
    through the whole path: decoding, preprocessing, network. So another version of a library, a changed file or a
    machine that computes otherwise is found before it costs accuracy in silence.

    Args:
        folder: of a model that `save_model`, `train` or `fine_tune` saved.
        module: for the weights of a module of your own.
        device: see `pipeline.choose_device`.
        tolerance: the largest difference that passes.

    Raises:
        ModelNotFoundError: no saved model is there.
        ModelLoadError: weights, labels, preprocessing or another setting were changed after the save, or are damaged.
    """
    from .saved import load_saved

    place = Path(folder)
    model = load_saved(place, device=device, speed="exact", module=module)
    settings = read_settings(place)
    recorded = _recorded(place, settings)
    difference = largest_difference(answers_of(model), recorded) if recorded else 0.0
    inputs = max((len(rows) for rows in recorded.values()), default=0)
    return ParityReport(
        folder=str(place),
        inputs=inputs,
        max_difference=difference,
        tolerance=tolerance,
        passed=difference <= tolerance,
    )


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


def _recorded(folder: Path, settings: dict[str, Any]) -> dict[str, Tensor]:
    """The answers at the time of the save."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    parity = settings.get("parity")
    if not isinstance(parity, dict):
        raise ModelLoadError(f"{folder} holds no answers to compare with: save the model again")
    if not parity.get("inputs"):
        return {}
    data = read_file(folder, ANSWERS_FILE, _MAX_ANSWERS_BYTES)
    if hashlib.sha256(data).hexdigest() != parity.get("answers_sha256"):
        raise ModelLoadError(f"{folder}: {ANSWERS_FILE} is not the file that was saved")
    try:
        return load(data)
    except SafetensorError as err:
        raise ModelLoadError(f"{folder}: {ANSWERS_FILE} is damaged: {str(err)[:200]}") from err


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
