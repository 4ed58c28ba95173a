"""`TrainingRun`: what training gives: the model, its history, its figures on pictures that it had not seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from ..results import html
from ..results.values import ColumnKind, FailureField

if TYPE_CHECKING:
    from ..results.figures import Figure


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
        labels: the classes.
        confusion: (K, K) counts: row the true class, column the answer.
        failures: pictures that could not be loaded, and were left out.
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
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    failures: tuple[FailureField, ...] = ()
    folder: Path | None = None

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
