"""Curves for TensorBoard, where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ..atomic import write_file
from ..log import log
from .run import EpochRecord

BOARD_FOLDER: Final = "tensorboard"


class Board:
    """Writes each epoch's figures into a training's folder, where TensorBoard looks for them.

    They are an extra: where TensorBoard fails, at a folder's name or a full disk, that is said once, and the training
    goes on without them.

    Args:
        folder: of the training.
    """

    def __init__(self, folder: Path) -> None:
        self._place = folder / BOARD_FOLDER
        self._writer: Any = None
        self._failed = False

    def write(self, record: EpochRecord) -> None:
        """Adds an epoch."""
        self._attempt(lambda: self._write(record))

    def close(self) -> None:
        """Ends the writer's thread, and closes its file."""
        if self._writer is not None:
            self._attempt(self._writer.close)

    def _write(self, record: EpochRecord) -> None:
        if self._writer is None:
            self._writer = import_module("torch.utils.tensorboard").SummaryWriter(str(self._place))
        for name, value in record.model_dump(exclude={"epoch"}).items():
            self._writer.add_scalar(name, value, record.epoch)
        self._writer.flush()

    def _attempt(self, work: Callable[[], object]) -> None:
        if self._failed:
            return
        try:
            work()
        except Exception as err:  # noqa: BLE001 - whatever it is: hours of training are not lost to a drawing
            self._failed = True
            log.warning("visionkit: no curves for TensorBoard: %s: %s", type(err).__name__, err)


def open_board(folder: Path) -> Board | None:
    """A board for a training's folder; None where TensorBoard is not installed."""
    return None if find_spec("tensorboard") is None else Board(folder)


@contextmanager
def curves_kept(folder: Path) -> Iterator[None]:
    """Within it the folder may be replaced by another: its curves are then in that one, unless the disk refuses."""
    place = folder / BOARD_FOLDER
    curves = {file.name: file.read_bytes() for file in place.iterdir() if file.is_file()} if place.is_dir() else {}
    yield
    try:
        if curves:
            place.mkdir(exist_ok=True)
        for name, data in curves.items():
            write_file(place / name, data)
    except OSError as err:  # the model is saved already
        log.warning("visionkit: the curves for TensorBoard are lost: %s", err)
