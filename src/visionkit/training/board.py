"""Curves for TensorBoard, where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ..atomic import write_file
from .run import EpochRecord

BOARD_FOLDER: Final = "tensorboard"


def open_board(folder: Path) -> Callable[[EpochRecord], None] | None:
    """What writes an epoch's figures into `folder/tensorboard`; None where TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        return None
    writer: Any = import_module("torch.utils.tensorboard").SummaryWriter(str(folder / BOARD_FOLDER))

    def write(record: EpochRecord) -> None:
        for name, value in record.model_dump(exclude={"epoch"}).items():
            writer.add_scalar(name, value, record.epoch)
        writer.flush()

    return write


@contextmanager
def curves_kept(folder: Path) -> Iterator[None]:
    """Within it the folder may be replaced by another: its curves are then in that one."""
    place = folder / BOARD_FOLDER
    curves = {file.name: file.read_bytes() for file in place.iterdir() if file.is_file()} if place.is_dir() else {}
    yield
    if curves:
        place.mkdir(exist_ok=True)
    for name, data in curves.items():
        write_file(place / name, data)
