"""A saved model: a folder that is complete in itself, whole or not there, and proven before it counts."""

from __future__ import annotations

import copy
import hashlib
import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import write_new
from ..errors import CapabilityError, InputError, ModelLoadError, ModelNotFoundError, SaveError, VisionkitError
from ..pipeline import Preprocess
from .answers import TOLERANCE, answers_of, at_rest, largest_difference
from .atomic import is_leftover, recover, replacing
from .card import model_card
from .folder import (
    ANSWERS_FILE,
    CARD_FILE,
    CHECKPOINT_FILE,
    CHECKPOINT_FOLDER,
    FORMAT_VERSION,
    MAX_SETTINGS_BYTES,
    OF_TRAINING,
    SETTINGS_FILE,
    WEIGHTS_FILE,
    as_json,
    is_temperature,
    read_file,
    read_settings,
    sealed,
)
from .labels import check_labels
from .protocols import Classifier, Savable
from .registry import BUILT_IN, call_loader, find_backend, options_of
from .weights import most_bytes, read_weights, same_bits, weights_bytes

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from .registry import Backend

__all__ = [
    "MAX_SETTINGS_BYTES",
    "SETTINGS_FILE",
    "WEIGHTS_FILE",
    "load_saved",
    "may_become_model",
    "rebuild",
    "save_model",
]

_OURS = (SETTINGS_FILE, WEIGHTS_FILE, ANSWERS_FILE, CARD_FILE)

_MISFITS = (
    InputError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a loader raises at options that do not fit."""


def save_model(
    model: object,
    folder: str | os.PathLike[str],
    *,
    training: dict[str, Any] | None = None,
    extra_files: dict[str, str] | None = None,
) -> Path:
    """Saves a model to a folder that `load_model` takes: weights, architecture, labels, preprocessing, versions.

    The folder is written beside its place. There the model is loaded afresh, a few pictures go from their files
    through it and through `model`, and only when the answers are the same (probabilities and feature values to 1e-4)
    does the folder take its place, and that of an older saved model of that name.

    Args:
        model: one with a module and an architecture: of `visionkit:`, `torchvision:`, `timm:`, `open_clip:`, one that
            was trained, or one of `wrap_model` (whose code the folder cannot hold: loading takes `module=`).
        folder: where to.
        training: how it was trained, as JSON values, for the record; by default the model's own, where it has one.
        extra_files: more text files, name → content.

    Returns:
        The folder.

    Raises:
        CapabilityError: the model cannot be saved.
        InputError: the folder holds something else.
        SaveError: what was saved does not answer as the model does. What was there before is there still.
        OSError: the disk refuses; what was there before is there still, and nothing else.
    """
    if not isinstance(model, Savable):
        raise CapabilityError(f"{_name(model)} cannot be saved: it has no module, preprocess and architecture()")
    target = Path(folder)
    if not may_become_model(target):
        raise InputError(f"cannot save to {target}: there is something else; give a new folder")
    for name in extra_files or {}:
        if Path(name).name != name or name in ("", "..", *_OURS):
            raise InputError(f"extra_files has {name!r}: give the name of a file that visionkit does not write itself")
    with replacing(target.resolve()) as building, at_rest(model):
        _write_folder(model, building, training, extra_files or {})
    return target


def load_saved(
    folder: Path, *, device: str | torch.device | None = None, speed: str = "default", module: nn.Module | None = None
) -> Any:
    """Loads what `save_model` saved.

    Args:
        folder: of the model.
        device: see `choose_device`.
        speed: "default", "fast", "fastest" or "exact".
        module: a module of your own whose weights the folder holds.

    Raises:
        ModelNotFoundError: no saved model is there.
        ModelLoadError: it is damaged, changed, of a later format, or needs `module`.
    """
    settings = read_settings(folder)
    if not (folder / WEIGHTS_FILE).exists():
        raise ModelLoadError(f"{folder}: {WEIGHTS_FILE} is missing or is not the file that was saved")
    try:
        preprocess = Preprocess.from_dict(settings["preprocess"])
        labels = None if settings["labels"] is None else check_labels(settings["labels"])
    except InputError as err:
        raise ModelLoadError(f"{folder / SETTINGS_FILE}: {err}") from err
    model = rebuild(settings["architecture"], device=device, speed=speed, module=module)
    state = model.module.state_dict()
    weights = read_file(folder, WEIGHTS_FILE, most_bytes(state))
    if hashlib.sha256(weights).hexdigest() != settings["weights_sha256"]:
        raise ModelLoadError(f"{folder}: {WEIGHTS_FILE} is missing or is not the file that was saved")
    model.module.load_state_dict(read_weights(weights, state, folder / WEIGHTS_FILE))
    model.name = str(folder)
    model.preprocess = preprocess
    model.training_record = settings.get("training")
    classes = len(getattr(model, "labels", ()) or ())
    if len(labels or ()) != classes:
        raise ModelLoadError(f"{folder}: there are {len(labels or ())} labels for a network of {classes} classes")
    if labels is not None:
        model.labels = labels
    _set_temperature(model, settings.get("temperature", 1.0), folder)
    _set_multi_label(model, settings.get("multi_label", False), folder)
    return model


def _set_temperature(model: Any, temperature: Any, folder: Path) -> None:
    if not is_temperature(temperature):
        raise ModelLoadError(f"{folder / SETTINGS_FILE}: the temperature {temperature!r:.80} is none")
    if hasattr(model, "temperature"):
        model.temperature = float(temperature)
    elif temperature != 1.0:
        raise ModelLoadError(f"{folder / SETTINGS_FILE} has a temperature, which {model.name} does not apply")


def _set_multi_label(model: Any, multi_label: Any, folder: Path) -> None:
    if not isinstance(multi_label, bool):
        raise ModelLoadError(f"{folder / SETTINGS_FILE}: multi_label is {multi_label!r:.80}, neither true nor false")
    if multi_label or hasattr(model, "multi_label"):
        model.multi_label = multi_label


def rebuild(
    architecture: dict[str, Any],
    *,
    device: str | torch.device | None,
    speed: str,
    module: nn.Module | None = None,
) -> Any:
    """Builds a model from its `architecture()`, with weights that are still to be filled in.

    The record may be a stranger's: it must ask for random weights, so that nothing is fetched or read elsewhere.

    Raises:
        ModelLoadError: the record names no registered local model, is malformed, or cannot be built.
    """
    name, options = architecture.get("model"), architecture.get("options")
    if (
        not isinstance(name, str)
        or not isinstance(options, dict)
        or ":" not in name
        or {"device", "speed", "module", "backend", "rest"} & options.keys()
    ):
        raise ModelLoadError(f"the architecture {architecture!r:.300} is malformed")
    prefix, _, rest = name.partition(":")
    backend = find_backend(prefix)
    if backend is None or not backend.local or _is_elsewhere(rest) or not _asks_for_random_weights(backend, options):
        raise ModelLoadError(f"the architecture {name!r:.300} is none that a saved model may name")
    if module is not None and prefix in ("wrapped", "head"):
        options = {**options, "module": module}
    try:
        return call_loader(backend, rest, device=device, speed=speed, **options)
    except _MISFITS as err:
        raise ModelLoadError(f"the architecture {name!r:.300} cannot be built: {err!s:.200}") from err


def _is_elsewhere(rest: str) -> bool:
    """Whether a name could be read as a way to another folder."""
    parts = rest.replace("\\", "/").split("/")
    return Path(rest).is_absolute() or rest.startswith(("~", "/", "\\")) or ".." in parts


def _asks_for_random_weights(backend: Backend, options: dict[str, Any]) -> bool:
    """Whether a loader that could fetch weights, or a configuration, is told not to; others need not be told."""
    taken = options_of(backend)
    if "config" in taken and backend in BUILT_IN and options.get("config") is None:
        return False
    if "pretrained" in taken:
        return options.get("pretrained") is False
    return backend not in BUILT_IN or backend.prefix in ("head", "wrapped")


def _write_folder(model: Savable, folder: Path, training: dict[str, Any] | None, extra_files: dict[str, str]) -> None:
    """Writes all files, and proves them before the settings say so."""
    state = model.module.state_dict()
    weights = weights_bytes(state)
    write_new(folder / WEIGHTS_FILE, weights)
    for name, text in extra_files.items():
        write_new(folder / name, text.encode())
    answers = answers_of(model)
    settings: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "architecture": model.architecture(),
        "extra_files": sorted(extra_files),
        "labels": list(model.labels) if isinstance(model, Classifier) else None,
        "preprocess": model.preprocess.to_dict(),
        "temperature": float(getattr(model, "temperature", 1.0)),
        "multi_label": bool(getattr(model, "multi_label", False)),
        "training": training if training is not None else getattr(model, "training_record", None),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "versions": {package: version(package) for package in ("torch", "numpy", "pillow")},
    }
    del weights
    write_new(folder / SETTINGS_FILE, as_json(sealed(settings)))
    difference = _prove(model, folder, state, answers)
    settings["parity"] = {
        "inputs": max((len(rows) for rows in answers.values()), default=0),
        "max_difference": difference,
        "tolerance": TOLERANCE,
    }
    if answers:
        recorded = weights_bytes(answers)
        write_new(folder / ANSWERS_FILE, recorded)
        settings["parity"]["answers_sha256"] = hashlib.sha256(recorded).hexdigest()
    (folder / SETTINGS_FILE).unlink()
    settings = sealed(settings)
    write_new(folder / SETTINGS_FILE, as_json(settings))
    parameters = sum(p.numel() for p in model.module.parameters())
    write_new(folder / CARD_FILE, model_card(settings, name=_name(model), parameters=parameters).encode())


def _prove(model: Savable, folder: Path, state: dict[str, Tensor], answers: dict[str, Tensor]) -> float:
    """Loads the folder afresh and compares; returns the largest difference.

    Raises:
        SaveError: it does not load, or is not what the model is.
    """
    name = _name(model)
    try:
        fresh = load_saved(
            folder, device=getattr(model, "device", None), speed="exact", module=_emptied(model.architecture(), model)
        )
    except VisionkitError as err:
        raise SaveError(f"{name} was not saved: what was written does not load: {err}") from err
    other = fresh.module.state_dict()
    changed = [key for key in state if not same_bits(state[key], other[key])]
    if changed:
        raise SaveError(f"{name} was not saved: {len(changed)} of its weights read back as others, first {changed[0]}")
    difference = largest_difference(answers, answers_of(fresh))
    if not difference <= TOLERANCE:
        raise SaveError(
            f"{name} was not saved: loaded afresh from its files it answers otherwise, by up to {difference:.2g} "
            f"(tolerance {TOLERANCE:.2g}); its architecture() or preprocess does not say all that it does, or its "
            f"answers are no numbers"
        )
    return difference


def _emptied(architecture: dict[str, Any], model: Savable) -> nn.Module | None:
    """A copy, with weights of zero, of the module of the user's own that an architecture needs, if it needs one."""
    module: Any = model.module
    while "embedder" in architecture.get("options", {}):
        architecture, module = architecture["options"]["embedder"], module["backbone"]
    if not str(architecture.get("model")).startswith("wrapped:"):
        return None
    twin: nn.Module = copy.deepcopy(module)
    for tensor in twin.state_dict().values():
        tensor.zero_()
    return twin


def may_become_model(folder: Path) -> bool:
    """Whether a model may be saved there: nothing is there but an older saved model, or its training."""
    if folder.resolve() == Path.cwd():  # what stands there cannot be replaced under its own feet
        return False
    if not folder.exists():
        return not folder.is_symlink()
    if not folder.is_dir():
        return False
    recover(folder / CHECKPOINT_FOLDER)
    ours = _files_of_ours(folder)
    return all(entry.name in ours or is_leftover(entry) for entry in folder.iterdir())


def _files_of_ours(folder: Path) -> set[str]:
    """What a saved model or a training wrote into a folder; nothing where neither stands there."""
    try:
        settings = read_settings(folder)
    except ModelLoadError:  # changed or damaged, but a model of ours
        settings = {}
    except ModelNotFoundError:
        if not (folder / CHECKPOINT_FOLDER / CHECKPOINT_FILE).is_file():
            return set()
        settings = {}
    extra = settings.get("extra_files", [])
    return {*_OURS, *OF_TRAINING, *(extra if isinstance(extra, list) else [])}


def _name(model: object) -> str:
    return str(getattr(model, "name", type(model).__name__))
