"""Saved models prove themselves: pictures go from their files through a fresh load, and the answers are compared."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict

from ..errors import InputError, ModelLoadError
from .answers import TOLERANCE, answers_of, largest_difference
from .export import FORMATS, load_exported
from .folder import ANSWERS_FILE, read_file, read_settings
from .saved import load_saved
from .weights import load_tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

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
    trusted: bool = False,
) -> ParityReport:
    """Loads a saved or exported model afresh, and compares what it answers with what it answered at that time.

    The weights, labels and preprocessing are held against their digests, and a few pictures go from their files
    through the whole path: decoding, preprocessing, network. So another version of a library, a changed file or a
    machine that computes otherwise is found before it costs accuracy in silence.

    Args:
        folder: of a model that `save_model`, `train` or `fine_tune` saved; or a file of `export_model`.
        module: for the weights of a module of your own; of a folder.
        device: see `pipeline.choose_device`; for a folder.
        tolerance: the largest difference that passes.
        trusted: the `.pt2` file is your own: torch runs code that such a file holds when it loads it.

    Raises:
        InputError: `module` or `device` with an exported file; a `.pt2` that is not `trusted`.
        ModelNotFoundError: no saved model is there.
        ModelLoadError: weights, labels, preprocessing or another setting were changed after the save, or are damaged.
    """
    place = Path(folder)
    if place.is_file():
        if module is not None or device is not None:
            raise InputError(f"{place} is an exported file, which runs on the CPU and holds its module: give neither")
        if place.suffix == FORMATS["torch"] and not trusted:
            raise InputError(
                f"{place} may hold code, which torch runs when it loads it: for a file of your own, verify(…, "
                f"trusted=True) or visionkit verify --trusted; an .onnx file needs no trust"
            )
        return _verify_file(place, tolerance)
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


def _verify_file(path: Path, tolerance: float) -> ParityReport:
    model, record = load_exported(path)
    recorded = load_tensors(record.answers, path)
    difference = largest_difference(answers_of(model), recorded)
    return ParityReport(
        folder=str(path),
        inputs=max((len(rows) for rows in recorded.values()), default=0),
        max_difference=difference,
        tolerance=tolerance,
        passed=difference <= tolerance,
    )


def _recorded(folder: Path, settings: dict[str, Any]) -> dict[str, Tensor]:
    """The answers at the time of the save."""
    parity = settings.get("parity")
    if not isinstance(parity, dict):
        raise ModelLoadError(f"{folder} holds no answers to compare with: save the model again")
    if not parity.get("inputs"):
        return {}
    data = read_file(folder, ANSWERS_FILE, _MAX_ANSWERS_BYTES)
    if hashlib.sha256(data).hexdigest() != parity.get("answers_sha256"):
        raise ModelLoadError(f"{folder}: {ANSWERS_FILE} is not the file that was saved")
    return load_tensors(data, folder / ANSWERS_FILE)
