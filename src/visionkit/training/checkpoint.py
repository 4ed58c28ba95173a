"""Checkpoints: all that a training changes, in a folder that is whole or not there, and the way back from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from .. import atomic as files
from ..errors import ModelLoadError, TrainingError
from ..models import atomic
from ..models.folder import CHECKPOINT_FILE, CHECKPOINT_FOLDER, parse_json, read_file
from ..models.weights import load_tensors, weights_bytes
from .loop import Learner

FORMAT_VERSION: Final = 1
_TENSORS_FILE: Final = "state.safetensors"
_MAX_JSON_BYTES: Final = 64 * 2**20
_KINDS: Final[dict[str, type]] = {
    "epoch": int,
    "step": int,
    "tensors_sha256": str,
    "begun_with": dict,
    "batch_size": int,
    "history": list,
}
"""What a checkpoint tells; the last three are the keeper's."""


@dataclass(frozen=True)
class Copy:
    """All that a learner changes, as values that another process can take.

    Attributes:
        tensors: a safetensors file.
        told: the rest.
    """

    tensors: bytes
    told: dict[str, Any]


def copy_of(learner: Learner) -> Copy:
    """A learner as it stands."""
    return Copy(weights_bytes(_tensors_of(learner)), _told_of(learner))


def take(learner: Learner, copy: Copy) -> None:
    """Makes a learner of the same network what the other was."""
    _put_back(learner, load_tensors(copy.tensors, Path("learner")), copy.told)


def write_checkpoint(folder: Path, learner: Learner, told: dict[str, Any]) -> None:
    """Puts a checkpoint in the place of the last, which stays until the new one is whole on the disk.

    Args:
        folder: of the training, which it holds for itself.
        learner: what is kept.
        told: more to keep, as JSON values.

    Raises:
        OSError: the disk refuses; the last checkpoint is there still.
    """
    data = weights_bytes(_tensors_of(learner))
    state = {
        "format_version": FORMAT_VERSION,
        **_told_of(learner),
        "tensors_sha256": hashlib.sha256(data).hexdigest(),
        **told,
    }
    with atomic.replacing(folder / CHECKPOINT_FOLDER, held=True) as building:
        files.write_new(building / _TENSORS_FILE, data)
        files.write_new(building / CHECKPOINT_FILE, json.dumps(state, indent=1, ensure_ascii=False).encode())


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """What was told with a training's checkpoint; None where there is none.

    Raises:
        TrainingError: it is damaged, lacks something, or is of a later format.
    """
    place = folder / CHECKPOINT_FOLDER
    atomic.recover(place, held=True)
    if not place.is_dir():
        return None
    try:
        state = parse_json(read_file(place, CHECKPOINT_FILE, _MAX_JSON_BYTES).decode(), place / CHECKPOINT_FILE)
    except (ModelLoadError, UnicodeDecodeError) as err:
        raise TrainingError(f"the checkpoint {place} cannot be read: {err}") from err
    if not isinstance(state, dict) or state.get("format_version") != FORMAT_VERSION:
        raise TrainingError(f"the checkpoint {place} is of another version of visionkit")
    bad = [key for key, kind in _KINDS.items() if not isinstance(state.get(key), kind)]
    if bad:
        raise TrainingError(
            f"the checkpoint {place} cannot be read: {CHECKPOINT_FILE} lacks {bad[0]!r}, or has it as something else; "
            f"delete it to begin anew"
        )
    return state


def restore(folder: Path, state: dict[str, Any], learner: Learner) -> None:
    """Puts a learner back to where its checkpoint was written.

    Raises:
        TrainingError: the file is not the one that was written, or is of another network.
    """
    place = folder / CHECKPOINT_FOLDER
    tensors = _read_tensors(place, state)
    _check_network(place, tensors, _tensors_of(learner))
    try:
        _put_back(learner, tensors, state)
    except (LookupError, ValueError) as err:
        raise TrainingError(f"the checkpoint {place} is of another network: its optimizer has other weights") from err


def _put_back(learner: Learner, tensors: dict[str, Tensor], told: dict[str, Any]) -> None:
    learner.module.load_state_dict(_under(tensors, "module."))
    if learner.average is not None:
        learner.average.load_state_dict(_under(tensors, "average."))
    _restore_optimizer(learner.optimizer, _under(tensors, "optimizer."))
    learner.best = _under(tensors, "best.") or None
    learner.loss_sum.copy_(tensors["loss_sum"])
    learner.epoch, learner.step = told["epoch"], told["step"]
    if learner.scaler is not None:
        learner.scaler.load_state_dict(told["scaler"])


def _told_of(learner: Learner) -> dict[str, Any]:
    told: dict[str, Any] = {"epoch": learner.epoch, "step": learner.step}
    return told if learner.scaler is None else {**told, "scaler": learner.scaler.state_dict()}


def _check_network(place: Path, found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Compares names and shapes of all but what the optimizer and the best epoch add in the course of the training."""
    later = ("optimizer.", "best.")
    sides = [{n: tuple(v.shape) for n, v in side.items() if not n.startswith(later)} for side in (found, wanted)]
    unlike = sorted(name for name in sides[0] | sides[1] if sides[0].get(name) != sides[1].get(name))
    if unlike:
        then, now = (side.get(unlike[0], "missing") for side in sides)
        raise TrainingError(f"the checkpoint {place} is of another network: {unlike[0]} is {then} there, {now} here")


def _read_tensors(place: Path, state: dict[str, Any]) -> dict[str, Tensor]:
    file = place / _TENSORS_FILE
    try:
        data = read_file(place, _TENSORS_FILE, file.stat().st_size)
        if hashlib.sha256(data).hexdigest() != state["tensors_sha256"]:
            raise TrainingError(f"{file} is not the file that was written")
        return load_tensors(data, file)
    except ModelLoadError as err:
        raise TrainingError(f"the checkpoint {place} cannot be read: {err}") from err
    except OSError as err:
        raise TrainingError(f"the checkpoint {place} cannot be read: {file}: {err.strerror or err}") from err


def _tensors_of(learner: Learner) -> dict[str, Tensor]:
    tensors = {"loss_sum": learner.loss_sum}
    tensors |= {f"module.{name}": value for name, value in learner.module.state_dict().items()}
    if learner.average is not None:
        tensors |= {f"average.{name}": value for name, value in learner.average.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in (learner.best or {}).items()}
    for number, kept in learner.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{key}": value for key, value in kept.items() if isinstance(value, Tensor)}
    return tensors


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Each tensor of a parameter's shape gets its layout too: one pass over both walks through memory side by side."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        like = parameters[int(number)]
        shaped = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
        state.setdefault(int(number), {})[key] = shaped.detach()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
