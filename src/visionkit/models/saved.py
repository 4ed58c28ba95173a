"""A saved model: a folder that is complete in itself, written so that it is whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import CapabilityError, InputError, ModelLoadError, ModelNotFoundError
from ..pipeline import Preprocess
from .labels import check_labels
from .protocols import Classifier, Savable
from .registry import find_backend

if TYPE_CHECKING:
    import torch
    from torch import nn

FORMAT_VERSION: Final = 1
SETTINGS_FILE: Final = "visionkit.json"
WEIGHTS_FILE: Final = "model.safetensors"
MAX_SETTINGS_BYTES: Final = 4 * 2**20
"""A settings file with ten thousand labels has half a megabyte; a larger one is none of ours."""


def save_model(
    model: object,
    folder: str | os.PathLike[str],
    *,
    training: dict[str, Any] | None = None,
    extra_files: dict[str, str] | None = None,
) -> Path:
    """Saves a model to a folder that `load_model` takes: weights, architecture, labels, preprocessing, versions.

    The folder is written beside its place and moved there when it is complete; an older saved model of that name is
    replaced.

    Args:
        model: one with a module and an architecture: of `visionkit:`, `torchvision:`, `timm:`, `open_clip:`, one that
            was trained, or one of `wrap_model` (whose code the folder cannot hold: loading takes `module=`).
        folder: where to.
        training: how it was trained, as JSON values, for the record.
        extra_files: more text files, name → content.

    Returns:
        The folder.

    Raises:
        CapabilityError: the model cannot be saved.
        InputError: the folder holds something else.
        OSError: the disk refuses; nothing is left behind.
    """
    if not isinstance(model, Savable):
        raise CapabilityError(f"{_name(model)} cannot be saved: it has no module, preprocess and architecture()")
    target = Path(folder)
    if target.exists() and not (target / SETTINGS_FILE).is_file() and not _is_empty_folder(target):
        raise InputError(f"cannot save to {target}: there is something else; give a new folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    building = _beside(target, "tmp")
    building.mkdir()
    try:
        _write_folder(model, building, training, extra_files or {})
        _move_into_place(building, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)  # gone already when all went well
    return target


def load_saved(
    folder: Path, *, device: str | torch.device | None = None, speed: str = "default", module: nn.Module | None = None
) -> Any:
    """Loads what `save_model` saved.

    Args:
        folder: of the model.
        device: see `choose_device`.
        speed: "default" or "exact".
        module: a module of your own whose weights the folder holds.

    Raises:
        ModelNotFoundError: no saved model is there.
        ModelLoadError: it is damaged, changed, of a later format, or needs `module`.
    """
    settings = read_settings(folder)
    weights = (folder / WEIGHTS_FILE).read_bytes() if (folder / WEIGHTS_FILE).is_file() else b""
    if hashlib.sha256(weights).hexdigest() != settings["weights_sha256"]:
        raise ModelLoadError(f"{folder}: {WEIGHTS_FILE} is missing or is not the file that was saved")
    model = rebuild(settings["architecture"], device=device, speed=speed, module=module)
    _fill(model, weights, folder)
    model.name = str(folder)
    model.preprocess = Preprocess.from_dict(settings["preprocess"])
    if settings["labels"] is not None:
        model.labels = check_labels(settings["labels"])
    return model


def rebuild(
    architecture: dict[str, Any],
    *,
    device: str | torch.device | None,
    speed: str,
    module: nn.Module | None = None,
) -> Any:
    """Builds a model from its `architecture()`, with weights that are still to be filled in.

    Raises:
        ModelLoadError: the record names no registered local model, or is malformed.
    """
    from .loading import call_loader

    name, options = architecture.get("model"), architecture.get("options")
    if not isinstance(name, str) or not isinstance(options, dict) or ":" not in name:
        raise ModelLoadError(f"the architecture {architecture!r} is malformed")
    prefix, _, rest = name.partition(":")
    backend = find_backend(prefix)
    if backend is None or not backend.local or options.get("pretrained") or Path(rest).is_absolute():
        raise ModelLoadError(f"the architecture {name!r} is none that a saved model may name")
    if module is not None and prefix in ("wrapped", "head"):
        options = {**options, "module": module}
    return call_loader(backend, rest, device=device, speed=speed, **options)


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a saved model, checked for form."""
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise ModelNotFoundError(f"{folder} is no saved model: it has no {SETTINGS_FILE}")
    if path.stat().st_size > MAX_SETTINGS_BYTES:
        raise ModelLoadError(f"{path} is larger than any that visionkit writes")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as err:
        raise ModelLoadError(f"{path} is no valid JSON") from err
    if not isinstance(settings, dict) or not isinstance(settings.get("format_version"), int):
        raise ModelLoadError(f"{path} is none of visionkit's")
    if settings["format_version"] > FORMAT_VERSION:
        raise ModelLoadError(
            f"{path} has format {settings['format_version']}, this visionkit reads up to {FORMAT_VERSION}: upgrade it"
        )
    missing = {"architecture", "labels", "preprocess", "weights_sha256"} - settings.keys()
    if missing:
        raise ModelLoadError(f"{path} lacks {', '.join(sorted(missing))}")
    return settings


def _write_folder(model: Savable, folder: Path, training: dict[str, Any] | None, extra_files: dict[str, str]) -> None:
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous() for name, value in model.module.state_dict().items()}
    weights = save({name: value.clone() for name, value in state.items()})  # clones: safetensors refuses shared memory
    settings = {
        "format_version": FORMAT_VERSION,
        "architecture": model.architecture(),
        "labels": list(model.labels) if isinstance(model, Classifier) else None,
        "preprocess": model.preprocess.to_dict(),
        "training": training,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "versions": {package: version(package) for package in ("torch", "numpy", "pillow")},
    }
    _write(folder / WEIGHTS_FILE, weights)
    _write(folder / SETTINGS_FILE, json.dumps(settings, indent=2, ensure_ascii=False, allow_nan=False).encode())
    for name, text in extra_files.items():
        _write(folder / name, text.encode())
    _sync_folder(folder)


def _fill(model: Any, weights: bytes, folder: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        model.module.load_state_dict(load(weights))
    except (SafetensorError, RuntimeError) as err:
        raise ModelLoadError(f"{folder}: the weights do not fit the architecture: {str(err)[:300]}") from err


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # other systems cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move_into_place(building: Path, target: Path) -> None:
    """Renames the complete folder; an old model is moved aside first, and back when that fails."""
    if not target.exists() or _is_empty_folder(target):
        building.replace(target)
    else:
        aside = _beside(target, "old")
        target.replace(aside)
        try:
            building.replace(target)
        except OSError:
            aside.replace(target)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    _sync_folder(target.parent)


def _beside(target: Path, kind: str) -> Path:
    """A hidden name beside the target, on the same file system, that nothing else has."""
    return target.parent / f".{target.name}.{secrets.token_hex(6)}.{kind}"


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _name(model: object) -> str:
    return str(getattr(model, "name", type(model).__name__))
