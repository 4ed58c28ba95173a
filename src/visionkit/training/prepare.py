"""Before and after every training: the data in two parts, the folder that will hold the model, the run."""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, TrainingError
from ..models.saved import may_become_model, save_model
from .data import Data, Labelled, read_data, split
from .run import TrainingRun

if TYPE_CHECKING:
    from ..errors import Failure
    from ..models.protocols import Classifier
    from .fit import Fitted
    from .loop import Settings


def split_data(data: Data, validation: float | Data, seed: int) -> tuple[Labelled, Labelled]:
    """What to learn from, and what to measure on.

    Raises:
        TrainingError: the validation data has a class that the data to learn from lacks; and what `split` raises.
    """
    learn = read_data(data)
    if isinstance(validation, (int, float)):
        return split(learn, float(validation), seed)
    check = read_data(validation)
    unknown = sorted(set(check.classes) - set(learn.classes))
    if unknown:
        raise TrainingError(f"the validation data has the class {unknown[0]!r}, which the data to learn from lacks")
    return learn, check


def prepare_out(out: str | os.PathLike[str] | None) -> Path | None:
    """The folder for the model, refused before hours of training where it cannot serve.

    Raises:
        InputError: something else is there, or nothing can be written there.
    """
    if out is None:
        return None
    folder = Path(out)
    if not may_become_model(folder):
        raise InputError(f"out={str(folder)!r}: there is something else; give a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder.parent).close()
    except OSError as err:
        raise InputError(f"out={str(folder)!r}: nothing can be written there: {err.strerror}") from err
    return folder


def finish(
    model: Classifier, fitted: Fitted, failures: tuple[Failure, ...], settings: Settings, folder: Path | None
) -> TrainingRun:
    """Saves the model where a folder was given, and makes the run."""
    history = "".join(f"{record.model_dump_json()}\n" for record in fitted.history)
    if folder is not None:
        record = {"settings": asdict(settings), "metrics": fitted.metrics}
        save_model(model, folder, training=record, extra_files={"history.jsonl": history})
    return TrainingRun(
        model=model,
        history=fitted.history,
        metrics=fitted.metrics,
        labels=tuple(model.labels),
        confusion=fitted.confusion,
        failures=failures,
        folder=folder,
    )
