"""Figures by matplotlib, without its global state: no back end is chosen, no window opened."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from ..images.sources import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Figure  # noqa: PLC0414 - others name the type without the package

    from .intervals import Interval

_MAX_NAMED = 20
"""Classes whose names still fit at the edge of a confusion matrix."""


def training_figure(
    losses: Sequence[float],
    validation_losses: Sequence[float],
    accuracies: Sequence[float],
    confusion: Sequence[Sequence[int]],
    labels: Sequence[str],
) -> Figure:
    """Curves over the epochs, and, where there is one, the confusion matrix: row the true class, column the answer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    loss, accuracy, *rest = figure.subplots(1, 3 if confusion else 2)
    epochs = range(1, len(losses) + 1)
    loss.plot(epochs, losses, label="learnt")
    loss.plot(epochs, validation_losses, label="set aside")
    loss.set(title="Loss", xlabel="epoch", ylabel="cross-entropy")
    loss.legend()
    accuracy.plot(epochs, [100 * a for a in accuracies])
    accuracy.set(title="Accuracy on pictures set aside", xlabel="epoch", ylabel="%")
    for matrix in rest:
        _draw_confusion(matrix, confusion, labels)
    return figure


def intervals_figure(
    figures: Mapping[str, Sequence[tuple[str, Interval]]], speeds: Sequence[tuple[str, float]]
) -> Figure:
    """A panel for each figure with a line for each model, from low to high; and one of images per second."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * (len(figures) + 1), 1.4 + 0.4 * len(speeds)), layout="constrained")
    *panels, last = figure.subplots(1, len(figures) + 1, squeeze=False)[0]
    for axes, (name, rows) in zip(panels, figures.items(), strict=True):
        values = [100 * interval.value for _, interval in rows]
        spread = [
            [100 * (interval.value - interval.low) for _, interval in rows],
            [100 * (interval.high - interval.value) for _, interval in rows],
        ]
        axes.errorbar(values, range(len(rows)), xerr=spread, fmt="o", capsize=3)
        axes.set(title=name, xlabel="%")
        _name_rows(axes, [model for model, _ in rows])
    last.barh(range(len(speeds)), [speed for _, speed in speeds])
    last.set(title="speed", xlabel="images/s")
    _name_rows(last, [model for model, _ in speeds])
    return figure


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """The first above; names as they are, at most 30 characters."""
    axes.set_yticks(range(len(names)), [printable(name)[-30:].replace("$", r"\$") for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)


def _draw_confusion(axes: Axes, confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> None:
    axes.imshow(confusion, cmap="Blues")
    axes.set(title="Confusion", xlabel="answer", ylabel="true class")
    if len(labels) > _MAX_NAMED:
        return
    names = [label[:20].replace("$", r"\$") for label in labels]  # matplotlib would read formulas between dollars
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    top = max((max(row) for row in confusion), default=0)
    for i, row in enumerate(confusion):
        for j, count in enumerate(row):
            if count:
                axes.text(j, i, str(count), ha="center", va="center", color="white" if count > top / 2 else "black")


def figure_uri(figure: Figure) -> str:
    """A figure as a `data:` URI of a PNG."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
