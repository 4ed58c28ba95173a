"""`export_model`: a model as one file for other programs, which says all that it takes to use it, and is proven."""

from __future__ import annotations

import copy
import io
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from ..atomic import write_file
from ..errors import CapabilityError, InputError, ModelLoadError, ModelNotFoundError, SaveError, VisionkitError
from ..extras import require
from .answers import TOLERANCE, answers_of, at_rest, largest_difference
from .exported import RECORD, ExportedModel, Record, Run, exported_model
from .folder import read_file
from .onnx_models import open_session, read_record
from .protocols import Classifier
from .weights import weights_bytes

FORMATS: Final = {"onnx": ".onnx", "torch": ".pt2"}
_MOST_PICTURES: Final = 4096
_MAX_BYTES: Final = 2**36


def export_model(model: Any, path: str | os.PathLike[str], *, format: Literal["onnx", "torch"] = "onnx") -> Path:  # noqa: A002 - the name that everyone expects
    """Writes a model to one file for other programs: ONNX, or torch's own export.

    The file takes normalised pictures "pixels", float32 (N, 3, height, width) with any N, and gives "logits" (before
    the temperature), "features" or both, as the model has them. Preprocessing, labels and temperature stand in it as
    JSON: in ONNX's metadata under "visionkit", in torch's extra file "visionkit.json". `load_model("onnx:…")` needs
    nothing else.

    Before it takes its place, the file is loaded afresh, a few pictures go from their files through it and through
    `model`, and the answers are compared (probabilities and feature values to 1e-4).

    Args:
        model: a classifier or embedder with a module: of `visionkit:`, `torchvision:`, `timm:`, `open_clip:` (the image
            tower), `transformers:`, of `wrap_model`, or one that was trained.
        path: the file, ".onnx" or ".pt2"; an older one is replaced.
        format: "onnx", for onnxruntime and others; or "torch", for `torch.export.load` (a `.pt2` may hold code, which
            runs when it is loaded: load your own only).

    Returns:
        The file.

    Raises:
        InputError: another format, or another end of the name.
        CapabilityError: the model has no module that can be exported.
        MissingExtraError: the packages for ONNX are not installed.
        SaveError: it cannot be exported, or the file does not answer as the model does. What was there before is there
            still.
        OSError: the disk refuses; what was there before is there still.
    """
    target = Path(path)
    if format not in FORMATS:
        raise InputError(f"format={format!r} is none; choose one of {', '.join(map(repr, FORMATS))}")
    if target.suffix != FORMATS[format]:
        raise InputError(f"{target} must end in {FORMATS[format]!r} for format={format!r}")
    if format == "onnx":
        for package in ("onnx", "onnxruntime", "onnxscript"):
            require(package)
    network = _Network(model)
    with at_rest(model):
        answers = answers_of(model)
    labels = tuple(model.labels) if isinstance(model, Classifier) else None
    try:
        program, outputs = network.program(model.preprocess.size_wh)
        record = Record(
            name=model.name,
            preprocess=model.preprocess,
            labels=labels,
            temperature=float(getattr(model, "temperature", 1.0)),
            multi_label=bool(getattr(model, "multi_label", False)),
            outputs=outputs,
            answers=weights_bytes(answers),
        )
        write = _onnx_writer(program, outputs) if format == "onnx" else _torch_writer(program)
        first = write(record)
    except VisionkitError:
        raise
    except Exception as err:  # a module of anyone's, in the hands of compilers
        reason = next(iter(str(err).strip().splitlines()), "")[:300]
        raise SaveError(f"{model.name} was not exported: {type(err).__name__}: {reason}") from err
    difference = _prove(model.name, first, target, answers)
    write_file(target, write(replace(record, max_difference=difference)))
    return target


def load_exported(path: Path) -> tuple[ExportedModel, Record]:
    """Loads what `export_model` wrote, of either format, with its record; a `.pt2` is trusted.

    Raises:
        ModelNotFoundError: there is no such file.
        ModelLoadError: it is damaged, changed, or not written by `export_model`.
    """
    if not path.is_file():
        raise ModelNotFoundError(f"{path} is no exported model: there is no such file")
    record: Record | None
    if path.suffix == FORMATS["torch"]:
        run, record = _open_torch(path)
    else:
        data = read_file(path.parent, path.name, _MAX_BYTES)
        record = read_record(data, path)
        if record is None:
            raise ModelLoadError(f"{path} was not written by vk.export_model, so there is nothing to compare with")
        run = open_session(data, record.outputs, path)
    return exported_model(run, record, name=str(path), speed="exact"), record


class _Network(nn.Module):
    """What a model computes in plain float32, without its preprocessing, as one module."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        plain = getattr(model, "plain_answers", None) or getattr(model, "plain_features", None)
        if plain is None or not isinstance(getattr(model, "module", None), nn.Module):
            name = getattr(model, "name", type(model).__name__)
            raise CapabilityError(f"{name} cannot be exported: it has no module of this machine that gives its answers")
        with torch.inference_mode(mode=False):
            self._twin = copy.deepcopy(model)  # on the CPU, in evaluation, while the model stays as it is
            self.module: nn.Module = self._twin.module.cpu().eval()

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        if hasattr(self._twin, "plain_answers"):
            answers: dict[str, Tensor] = self._twin.plain_answers(pixels)
            return answers
        return {"features": self._twin.plain_features(pixels)}

    def program(self, size_wh: tuple[int, int]) -> tuple[Any, tuple[str, ...]]:
        """The exported program, and the names of its outputs."""
        with torch.inference_mode(mode=False), torch.no_grad():
            example = torch.randn((2, 3, size_wh[1], size_wh[0]), generator=torch.Generator().manual_seed(0))
            outputs = tuple(self(example))
            batch = torch.export.Dim("batch", min=1, max=_MOST_PICTURES)
            return torch.export.export(self, (example,), dynamic_shapes=({0: batch},), strict=False), outputs


def _onnx_writer(program: Any, outputs: tuple[str, ...]) -> Callable[[Record], bytes]:
    made: Any = torch.onnx.export(
        program, input_names=["pixels"], output_names=list(outputs), dynamo=True, external_data=False, verbose=False
    )
    model = made.model_proto

    def write(record: Record) -> bytes:
        del model.metadata_props[:]
        model.metadata_props.add(key=RECORD, value=record.to_json())
        data: bytes = model.SerializeToString()
        return data

    return write


def _torch_writer(program: Any) -> Callable[[Record], bytes]:
    def write(record: Record) -> bytes:
        buffer = io.BytesIO()
        torch.export.save(program, buffer, extra_files={f"{RECORD}.json": record.to_json()})
        return buffer.getvalue()

    return write


def _open_torch(path: Path) -> tuple[Run, Record]:
    files = {f"{RECORD}.json": ""}
    try:
        program: Any = torch.export.load(path, extra_files=files)
    except Exception as err:  # zip's, JSON's and torch's own kinds
        raise ModelLoadError(f"{path} is no program of torch.export: {type(err).__name__}") from err
    text: Any = files[f"{RECORD}.json"]
    if not text:
        raise ModelLoadError(f"{path} was not written by vk.export_model, so there is nothing to compare with")
    record = Record.from_json(text.decode() if isinstance(text, bytes) else text, path)
    module = program.module()

    def run(pixels: Tensor) -> dict[str, Tensor]:
        answers: dict[str, Tensor] = module(pixels.contiguous())
        return answers

    return run, record


def _prove(name: str, data: bytes, target: Path, answers: dict[str, Tensor]) -> float:
    """Loads the file afresh and compares; returns the largest difference.

    Raises:
        SaveError: it does not load, or answers otherwise.
    """
    with tempfile.TemporaryDirectory(prefix="visionkit-") as place:
        path = Path(place, f"model{target.suffix}")
        path.write_bytes(data)
        try:
            difference = largest_difference(answers, answers_of(load_exported(path)[0]))
        except VisionkitError as err:
            raise SaveError(f"{name} was not exported: what was written does not load: {err}") from err
    if not difference <= TOLERANCE:
        raise SaveError(
            f"{name} was not exported: loaded afresh, the file answers otherwise, by up to {difference:.2g} "
            f"(tolerance {TOLERANCE:.2g})"
        )
    return difference
