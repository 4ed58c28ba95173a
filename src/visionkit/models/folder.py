"""The files of a saved folder, read as a stranger's: regular, bounded, sealed, and by no link."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import stat
from pathlib import Path
from typing import Any, Final, NoReturn

from ..errors import ModelLoadError, ModelNotFoundError

FORMAT_VERSION: Final = 1
SETTINGS_FILE: Final = "visionkit.json"
WEIGHTS_FILE: Final = "model.safetensors"
ANSWERS_FILE: Final = "parity.safetensors"
CARD_FILE: Final = "README.md"
HISTORY_FILE: Final = "history.jsonl"
CHECKPOINT_FOLDER: Final = "checkpoint"
CHECKPOINT_FILE: Final = "state.json"
"""Of a training that has not ended; in the folder that its model will have."""
OF_TRAINING: Final = (HISTORY_FILE, CHECKPOINT_FOLDER, "report.html", "run.json", "tensorboard")
"""What a training writes beside its model."""
MAX_SETTINGS_BYTES: Final = 4 * 2**20
"""A settings file with ten thousand labels has half a megabyte; a larger one is none of ours."""

_NEEDED: Final = {"architecture", "labels", "preprocess", "weights_sha256", "settings_sha256"}

_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "architecture": (dict,),
    "preprocess": (dict,),
    "labels": (list, type(None)),
    "weights_sha256": (str,),
    "settings_sha256": (str,),
}


def read_file(folder: Path, name: str, most: int) -> bytes:
    """A file of the folder, whole.

    Raises:
        ModelLoadError: it is missing, a link, no regular file, or larger than `most` bytes.
    """
    path = folder / name
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):  # a pipe would be waited for
        flags |= getattr(os, flag, 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as err:
        if err.errno == errno.ELOOP:
            raise ModelLoadError(f"{path} is a symbolic link, which a saved model never has: copy the file") from err
        raise ModelLoadError(f"{path} cannot be read: {err.strerror}") from err
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise ModelLoadError(f"{path} is no regular file")
        data = file.read(min(most, state.st_size) + 1)  # as much memory is taken as is asked for
    if len(data) > most:
        raise ModelLoadError(f"{path} is larger than any that visionkit writes here: over {most} bytes")
    return data


def parse_json(text: str, where: object) -> Any:
    """JSON, strictly: no key twice, no NaN, no number beyond all.

    Raises:
        ModelLoadError: it is none.
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as err:
        raise ModelLoadError(f"{where} is no valid JSON") from err


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a saved model, checked for form and against their own seal.

    Raises:
        ModelNotFoundError: there are none.
        ModelLoadError: they are malformed, changed, or of a later format.
    """
    path = folder / SETTINGS_FILE
    if not path.exists() and not path.is_symlink():
        raise ModelNotFoundError(f"{folder} is no saved model: it has no {SETTINGS_FILE}")
    try:
        text = read_file(folder, SETTINGS_FILE, MAX_SETTINGS_BYTES).decode()
    except UnicodeDecodeError as err:
        raise ModelLoadError(f"{path} is no valid JSON") from err
    settings = parse_json(text, path)
    if not isinstance(settings, dict) or not isinstance(settings.get("format_version"), int):
        raise ModelLoadError(f"{path} is none of visionkit's")
    if settings["format_version"] > FORMAT_VERSION:
        raise ModelLoadError(
            f"{path} has format {settings['format_version']}, this visionkit reads up to {FORMAT_VERSION}: upgrade it"
        )
    missing = _NEEDED - settings.keys()
    if missing:
        raise ModelLoadError(f"{path} lacks {', '.join(sorted(missing))}")
    for key, kinds in _KINDS.items():
        if not isinstance(settings[key], kinds):
            raise ModelLoadError(f"{path}: {key} is of another type than visionkit writes")
    if sealed(settings)["settings_sha256"] != settings["settings_sha256"]:
        raise ModelLoadError(
            f"{path} was changed after the model was saved (labels, preprocessing or another setting); "
            f"load the original, or save the model again"
        )
    return settings


def sealed(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the digest of all the others, in canonical form: it tells of a change, not of who made it."""
    fields = {key: value for key, value in settings.items() if key != "settings_sha256"}
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return {**fields, "settings_sha256": hashlib.sha256(canonical.encode()).hexdigest()}


def is_temperature(value: object) -> bool:
    """Whether a value from a file can be what logits are divided by."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 1e-6 < value < 1e6


def as_json(settings: dict[str, Any]) -> bytes:
    """Settings as the file has them."""
    return json.dumps(settings, indent=2, ensure_ascii=False, allow_nan=False).encode()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands twice")
    return fields


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_constant(text)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
