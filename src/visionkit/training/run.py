"""`TrainingRun`: what training gives: the model, its history, its figures on pictures that it had not seen."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from ..atomic import write_file
from ..errors import InputError
from ..images import describe
from ..results import html
from ..results.intervals import Interval
from ..results.values import ColumnKind, FailureField
from .calibration import Calibration
from .data_report import DataReport
from .evidence import Evidence, Mistake

if TYPE_CHECKING:
    from ..results.figures import Figure

REPORT_FILE: Final = "report.html"
"""The report's name, beside the model."""


class EpochRecord(BaseModel):
    """One epoch.

    Attributes:
        epoch: from 1.
        loss: mean cross-entropy over the training pictures, while they were learnt.
        validation_loss: on the pictures set aside.
        accuracy: on the pictures set aside, 0–1.
        seconds: how long it took.
        images_per_second: while it learnt.
    """

    model_config = ConfigDict(frozen=True)

    epoch: int
    loss: float
    validation_loss: float
    accuracy: float
    seconds: float
    images_per_second: float


class TrainingRun(BaseModel):
    """What `train` and `fine_tune` give.

    Attributes:
        model: the trained model: give it to any verb, or to `save_model`.
        history: one record for each epoch.
        metrics: figures on the pictures set aside: "accuracy", and how many there were, "validation_images".
        figures: more of them, each with its confidence interval: see `results.metrics.figures`.
        labels: the classes.
        confusion: (K, K) counts: row the true class, column the answer; empty where a picture may have several labels,
            and of over 1,000 classes.
        calibration: the model's temperature, and what it does for the probabilities.
        worst: the wrong answers that the model was surest of.
        failures: pictures that could not be loaded, and were left out.
        data: what was found out about the data.
        folder: where the model was saved, when `out` was given.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True, protected_namespaces=())

    table_columns: ClassVar[Mapping[str, ColumnKind]] = {
        "folder": "text",
        "epoch": "integer",
        "loss": "number",
        "validation_loss": "number",
        "accuracy": "number",
        "seconds": "number",
        "images_per_second": "number",
    }

    model: Any = Field(exclude=True, default=None)
    history: tuple[EpochRecord, ...]
    metrics: dict[str, float]
    figures: dict[str, Interval] = Field(default_factory=dict)
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration: Calibration | None = None
    worst: tuple[Mistake, ...] = ()
    failures: tuple[FailureField, ...] = ()
    data: DataReport | None = None
    folder: Path | None = None
    _evidence: Evidence | None = PrivateAttr(default=None)

    def keep(self, evidence: Evidence) -> None:
        """Takes pictures and settings for the report, which are no part of the run's JSON."""
        self._evidence = evidence

    def report(self) -> str:
        """The report as one HTML page that needs nothing else: see `write_report`."""
        from .report import report_html

        return report_html(self, self._evidence)

    def write_report(self, path: str | os.PathLike[str]) -> Path:
        """Writes the report: data with examples, curves, confusion, every class, calibration, the worst mistakes.

        It is one HTML file without scripts, which loads nothing from anywhere; with `out`, training wrote one already,
        `report.html`. A run that was read from JSON shows pictures only of files that are still there.

        Args:
            path: the file, replaced if it is there.

        Returns:
            The path.

        Raises:
            InputError: the file cannot be written.
        """
        target = Path(path)
        text = self.report()
        try:
            write_file(target, text.encode())
        except OSError as err:
            raise InputError(f"cannot write {describe(path)}: {err.strerror}") from err
        return target

    def plot(self) -> Figure:
        """Curves of loss and accuracy, and the confusion matrix, as a matplotlib figure."""
        from ..results.figures import training_figure

        return training_figure(
            [r.loss for r in self.history],
            [r.validation_loss for r in self.history],
            [r.accuracy for r in self.history],
            self.confusion,
            self.labels,
        )

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} pictures left out" if self.failures else ""
        saved = f", saved in {self.folder}" if self.folder else ""
        return (
            f"TrainingRun({len(self.history)} epochs, {len(self.labels)} classes: "
            f"accuracy {self.metrics['accuracy']:.1%} on {self.metrics['validation_images']:.0f} pictures set aside"
            f"{failed}{saved})"
        )

    def __str__(self) -> str:
        return repr(self)

    def table_rows(self) -> Iterator[dict[str, Any]]:
        """A row for each epoch."""
        folder = str(self.folder) if self.folder else None
        for record in self.history:
            yield {"folder": folder, **record.model_dump()}

    def _repr_html_(self) -> str:
        from ..results.figures import figure_uri

        return html.card(html.image(figure_uri(self.plot()), "curves of the training"), html.title(repr(self)))
