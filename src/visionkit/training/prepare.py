"""Before and after every training: the data in two parts, the folder that will hold the model, the run."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import ValidationError

from ..errors import InputError, TrainingError
from ..models.folder import CHECKPOINT_FOLDER, HISTORY_FILE, read_settings
from ..models.saved import load_saved, may_become_model, save_model
from .audit import audited
from .board import curves_kept
from .calibration import calibrate, figures_of
from .data import Data, Labelled, check_classes, read_data, split
from .evidence import Explain, gather, worst_mistakes
from .origin import refuse_other
from .processes import ALONE, Processes
from .run import REPORT_FILE, TrainingRun

if TYPE_CHECKING:
    from torch import nn

    from ..errors import Failure
    from ..models.wrap import ModuleClassifier
    from .fit import Fitted
    from .heads import HeadClassifier
    from .labelled import OnError
    from .settings import Settings

RUN_FILE: Final = "run.json"
"""The run's figures, beside the model."""


def split_data(
    data: Data, validation: float | Data, seed: int, *, on_error: OnError = "return"
) -> tuple[Labelled, Labelled]:
    """What to learn from, and what to measure on, looked over: what may be wrong with them goes to the log.

    Args:
        data: see `Data`.
        validation: a fraction of it to set aside, unless it has parts of its own; or data of its own.
        seed: of what is set aside.
        on_error: see `Labelled`.

    Raises:
        InputError: another `on_error`; and what `read_data` raises.
        TrainingError: the validation data has a class that the data to learn from lacks; and what `split` raises.
    """
    if on_error not in ("raise", "return"):
        raise InputError(f"on_error={on_error!r} must be 'raise' or 'return'")
    learn = read_data(data)
    if isinstance(validation, (int, float)):
        learn, check = split(learn, float(validation), seed)
    else:
        learn, check = learn.part("train"), read_data(validation, least_classes=1)
        if not len(learn):
            raise TrainingError("the data has no part to train on: 'train'")
        check_classes(learn, check)
    return audited(replace(learn, on_error=on_error), replace(check, on_error=on_error))


def prepare_out(out: str | os.PathLike[str] | None, *, resume: bool = False) -> Path | None:
    """The folder for the model, refused before hours of training where it cannot serve.

    Raises:
        InputError: something else is there, or nothing can be written there; a training that has not ended is there,
            and shall not be resumed; nothing is given, and shall be resumed.
    """
    if out is None:
        if resume:
            raise InputError("resume=True goes on from the checkpoint in out=, which is not given")
        return None
    folder = Path(out)
    if "\0" in str(folder):
        raise InputError(f"out={str(folder)!r} is no name of a folder")
    if not may_become_model(folder):
        raise InputError(f"out={str(folder)!r}: there is something else; give a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder.parent).close()
    except OSError as err:
        raise InputError(f"out={str(folder)!r}: nothing can be written there: {err.strerror}") from err
    if (folder / CHECKPOINT_FOLDER).is_dir() and not resume:
        raise InputError(
            f"out={str(folder)!r} holds a training that has not ended: go on with resume=True; to begin anew, delete "
            f"{folder / CHECKPOINT_FOLDER} or give another folder"
        )
    return folder


def finished_run(
    folder: Path | None,
    settings: Settings,
    origin: dict[str, Any],
    *,
    module: nn.Module | None = None,
    together: Processes = ALONE,
) -> TrainingRun | None:
    """The run that ended in a folder, for those who resume what is done; None where none has.

    Args:
        folder: of the run.
        settings: of the call.
        origin: what the call would start from, see `origin_of`.
        module: what the call would train, where it is one of the user's own; it is copied.
        together: who asks.

    Raises:
        TrainingError: it was made with other settings, from another model or of other data; or it is damaged.
    """
    if folder is None or not together.from_main(lambda: _has_ended(folder)):
        return None
    record = read_settings(folder).get("training") or {}
    before = record.get("settings")
    if before != json.loads(json.dumps(asdict(settings))):
        raise TrainingError(f"{folder} was trained with other settings: {before}; give another out=")
    refuse_other(folder, record, origin)
    try:
        run = TrainingRun.model_validate_json((folder / RUN_FILE).read_bytes())
    except (OSError, ValidationError) as err:
        raise TrainingError(f"{folder / RUN_FILE} cannot be read: it is damaged; give another out=") from err
    return run.model_copy(update={"model": load_saved(folder, module=module), "folder": folder})


def _has_ended(folder: Path) -> bool:
    return (folder / RUN_FILE).is_file() and not (folder / CHECKPOINT_FOLDER).is_dir()


class Ended(Protocol):
    """A training that has ended: what `scratch.Trained` and `frozen.Headed` hold."""

    @property
    def model(self) -> ModuleClassifier | HeadClassifier:
        """The trained model."""

    @property
    def fitted(self) -> Fitted:
        """How it went."""

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Pictures that could not be loaded."""

    @property
    def learn(self) -> Labelled:
        """The pictures that were learnt from."""

    @property
    def check(self) -> Labelled:
        """The pictures set aside, in the order of `fitted.logits`."""


def finish(
    ended: Ended,
    settings: Settings,
    folder: Path | None,
    *,
    origin: dict[str, Any] | None = None,
    explain: Explain | None = None,
    together: Processes = ALONE,
) -> TrainingRun:
    """Calibrates the model, saves it with its report where a folder was given, and makes the run.

    Raises:
        TrainingError: the disk refuses; a checkpoint that is there stays.
    """
    model, fitted = ended.model, ended.fitted
    model.multi_label = ended.learn.multi_label
    classes = tuple(model.labels)
    calibration = calibrate(fitted.logits, fitted.targets)
    if calibration is not None:
        model.temperature = calibration.temperature
    places, worst = worst_mistakes(ended.check, fitted.logits, fitted.targets, classes, model.temperature)
    run = TrainingRun(
        model=model,
        history=fitted.history,
        metrics=fitted.metrics,
        figures=figures_of(fitted.logits, fitted.targets, model.temperature),
        labels=classes,
        confusion=fitted.confusion,
        calibration=calibration,
        worst=worst,
        failures=ended.failures,
        data=ended.learn.report,
        folder=folder,
    )
    run.keep(gather(ended.learn, ended.check, places, settings=asdict(settings), explain=explain))
    if folder is not None:
        model.training_record = {"settings": asdict(settings), "metrics": fitted.metrics, **(origin or {})}
        together.from_main(lambda: _save(run, folder))
    return run


def _save(run: TrainingRun, folder: Path) -> None:
    history = "".join(f"{record.model_dump_json()}\n" for record in run.history)
    files = {HISTORY_FILE: history, RUN_FILE: run.model_dump_json(), REPORT_FILE: run.report()}
    try:
        with curves_kept(folder):
            save_model(run.model, folder, extra_files=files)
    except OSError as err:
        way = ": go on with resume=True, from the last checkpoint" if (folder / CHECKPOINT_FOLDER).is_dir() else ""
        raise TrainingError(f"the trained model could not be saved: {err.strerror or err}{way}") from err
