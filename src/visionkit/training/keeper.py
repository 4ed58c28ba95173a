"""Keeps a training on the disk while it runs, so that it can go on after whatever ended it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from torch import Tensor

from .. import atomic as files
from ..errors import TrainingError
from ..log import log
from ..models.folder import HISTORY_FILE, SETTINGS_FILE
from .board import Board, open_board
from .checkpoint import read_checkpoint, restore, write_checkpoint
from .processes import ALONE, UNTOLD, Processes
from .run import EpochRecord

if TYPE_CHECKING:
    from .loop import Learner

KEEP_EVERY_SECONDS: Final = 60.0
"""Between two checkpoints within a long epoch; one more stands after every epoch."""


class Keeper:
    """Keeps checkpoints and a history in a training's folder.

    Args:
        folder: of the training.
        begun_with: settings, network and data, as JSON values: what must be the same to go on.
        resume: whether to go on from the checkpoint that is there.

    Attributes:
        batch_size: with which the training began; None before.

    Raises:
        TrainingError: the checkpoint is damaged, or was begun with something else.
    """

    def __init__(self, folder: Path, begun_with: dict[str, Any], *, resume: bool) -> None:
        self._folder = folder
        self._begun_with: dict[str, Any] = json.loads(json.dumps(begun_with))
        self._state = read_checkpoint(folder) if resume else None
        if self._state is not None:
            self._check_same(self._state["begun_with"])
        self.batch_size: int | None = self._state["batch_size"] if self._state else None
        self._history = None if (folder / SETTINGS_FILE).exists() else folder / HISTORY_FILE
        self._kept = ""
        self._last = time.monotonic()
        self._board: Board | None = None

    def restore(self, learner: Learner) -> list[EpochRecord]:
        """Puts the learner to where the checkpoint was written, if one is to go on from; returns its history.

        Raises:
            TrainingError: it is damaged, or of another network.
        """
        if self._state is None:
            return []
        restore(self._folder, self._state, learner)
        try:
            return [EpochRecord.model_validate(record) for record in self._state["history"]]
        except ValidationError as err:
            raise TrainingError(f"the checkpoint in {self._folder} cannot be read: its history is damaged") from err

    def begin(self, learner: Learner, history: Sequence[EpochRecord], batch_size: int) -> None:
        """Before the first step: the first checkpoint, or what is told after the one to go on from is cut off."""
        self.batch_size = batch_size
        learner.kept = True
        self._write(learner, history)
        self._write_history(history)
        self._board = open_board(self._folder)

    def see(self, learner: Learner, history: Sequence[EpochRecord], *, epoch_over: bool) -> None:
        """After each step.

        Raises:
            TrainingError: the disk refuses.
        """
        if epoch_over:
            if self._history is not None:
                with self._told("the history"):
                    _append(self._history, f"{history[-1].model_dump_json()}\n")
            if self._board is not None:
                self._board.write(history[-1])
        if epoch_over or time.monotonic() - self._last >= KEEP_EVERY_SECONDS:
            self._write(learner, history)

    def keep_last_step(self, learner: Learner, history: Sequence[EpochRecord]) -> None:
        """When training is stopped: one more checkpoint, of the last step that was whole.

        One that is stopped while a step writes the weights keeps the checkpoint before, as does a disk that refuses.
        """
        if learner.torn or self.batch_size is None:
            return
        learner.take_back()
        try:
            self._write(learner, history)
            self._write_history(history)
        except TrainingError as err:
            log.warning("visionkit: %s", err)

    def close(self) -> None:
        """Ends what writes the curves."""
        if self._board is not None:
            self._board.close()

    def way_on(self) -> str:
        """What is kept, and how to go on from it."""
        return f"{self._kept} in {self._folder}: go on with resume=True" if self._kept else "there is no checkpoint yet"

    def _write(self, learner: Learner, history: Sequence[EpochRecord]) -> None:
        if not all(bool(parameter.isfinite().all()) for parameter in learner.module.parameters()):
            raise TrainingError(
                f"weights are NaN or infinite after epoch {learner.epoch + 1}, step {learner.step}: try a lower "
                f"learning rate; {self.way_on()}"
            )
        told = {
            "begun_with": self._begun_with,
            "batch_size": self.batch_size,
            "history": [record.model_dump() for record in history],
        }
        with self._told("the checkpoint"):
            write_checkpoint(self._folder, learner, told)
        self._kept = f"the checkpoint of epoch {learner.epoch + 1}, step {learner.step}, is kept"
        self._last = time.monotonic()

    def _write_history(self, history: Sequence[EpochRecord]) -> None:
        if self._history is not None:
            text = "".join(f"{record.model_dump_json()}\n" for record in history)
            with self._told("the history"):
                files.write_file(self._history, text.encode())

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            raise TrainingError(
                f"{what} could not be written to {self._folder}: {err.strerror or err}; {self.way_on()}"
            ) from err

    def _check_same(self, before: dict[str, Any]) -> None:
        then, now = UNTOLD | _flat(before), UNTOLD | _flat(self._begun_with)
        for name in [*then, *(n for n in now if n not in then)]:
            if then.get(name) != now.get(name):
                raise TrainingError(
                    f"{self._folder} was begun with {name} {then.get(name)!r:.80}, not {now.get(name)!r:.80}: give the "
                    f"same to go on, or another out= to begin anew"
                )


@contextmanager
def keeping(
    folder: Path | None, begun_with: Callable[[], dict[str, Any]], *, resume: bool, together: Processes = ALONE
) -> Iterator[Keeper | None]:
    """A keeper for a training that shall be kept, in a folder that no other training uses meanwhile; else None.

    Of several processes the main one has it. Within it an error or Ctrl-C says how to go on.

    Raises:
        TrainingError: another process trains there; and what `Keeper` raises.
    """
    if folder is None or not together.main:
        yield None
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock(folder)
    except OSError as err:
        raise TrainingError(f"nothing can be written to {folder}: {err.strerror}") from err
    try:
        keeper = Keeper(folder, {**begun_with(), **together.told()}, resume=resume)
        try:
            yield keeper
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"training was stopped; {keeper.way_on()}") from None
        except TrainingError as err:
            if keeper.batch_size is not None and keeper.way_on() not in str(err):
                raise TrainingError(f"{err}; {keeper.way_on()}") from err
            raise
        finally:
            keeper.close()
    finally:
        if lock is not None:
            os.close(lock)
        with suppress(OSError):  # what failed before its first checkpoint leaves nothing
            folder.rmdir()


def fingerprint(learn: tuple[Tensor, Tensor], check: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """Of pictures and their classes, (inputs, targets) each: what must be the same for a training to go on."""
    return {
        "pictures to learn from": f"{len(learn[0])} of sha256 {_digest(learn[0])}",
        "their classes": _digest(learn[1]),
        "pictures set aside": f"{len(check[0])} of sha256 {_digest(check[0])}",
        "classes of these": _digest(check[1]),
    }


def _digest(values: Tensor) -> str:
    digest = hashlib.sha256(repr(tuple(values.shape)).encode())
    for part in values.split(1024):
        last = part.movedim(1, -1) if part.ndim == 4 else part  # pictures lie channels-last in memory
        digest.update(last.cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}: ") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def _append(file: Path, line: str) -> None:
    """Adds a line in one write: a reader never sees a part, and a process that is killed leaves none."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0))
    try:
        if os.write(descriptor, line.encode()) != len(line.encode()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """Holds a folder for as long as this process lives and the number is open; None where a system cannot."""
    if os.name != "posix":
        return None
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        os.close(descriptor)
        raise TrainingError(f"another process trains in {folder}: wait for it, or give another out=") from err
    except OSError:  # a file system without locks
        os.close(descriptor)
        return None
    return descriptor
