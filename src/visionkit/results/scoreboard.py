"""`Scoreboard`: how well models do on the same pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict

from ..images.sources import printable
from . import html
from .intervals import Interval
from .values import ColumnKind, FailureField

if TYPE_CHECKING:
    from .figures import Figure

_FIGURES: Final = {
    "accuracy": "accuracy",
    "top5_accuracy": "top-5",
    "macro_f1": "macro F1",
    "mean_average_precision": "mAP",
    "auroc": "AUROC",
    "ece": "ECE",
}
"""The figures of `results.metrics`, in the order and under the names that a table has."""

REAL: Final = 0.05
"""A difference is called real when chance alone would show one so large less often than this."""


class ModelScore(BaseModel):
    """One model's row.

    Attributes:
        model: its name; a second one of that name has a number behind it.
        figures: name → figure with its interval: see `results.metrics.figures`.
        confusion: (K, K + 1) counts: row the true class, column the answer; the last column has answers that are none
            of the data's classes. Empty where a picture may have several labels, and of over 1,000 classes.
        missing: classes of the data that the model does not know: their pictures count as answered wrongly.
        foreign: how many labels the model has that the data lacks: to answer one is wrong.
        learnt: the part of the pictures that the model learnt from, 0–1, by the record of its training; an estimate
            where `learnt_told` is not all of them. None: nothing is known, or of too few.
        learnt_found: pictures that it surely learnt from.
        learnt_told: pictures of which the record tells; of a model that learnt from over 4,096 a random part.
        images_per_second: files to answers, in batches.
        latency_p50_ms, latency_p95_ms: of one picture alone, from file to answer: the median, and what 95% stay below;
            None for a hosted model, which is not asked again for it.
        cost_per_1000: of a thousand pictures; None: not yet worked out, and of local models.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model: str
    figures: dict[str, Interval]
    confusion: tuple[tuple[int, ...], ...] = ()
    missing: tuple[str, ...] = ()
    foreign: int = 0
    learnt: float | None = None
    learnt_found: int = 0
    learnt_told: int = 0
    images_per_second: float
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    cost_per_1000: None = None


class Difference(BaseModel):
    """Whether one model is better than another, on the pictures that both answered.

    Attributes:
        one, other: the models' names.
        accuracy: of `one` less that of `other`, with its interval from paired resamples.
        p_value: how likely so large a difference is by chance alone: McNemar's exact test; of several pairs, after
            Holm's correction.
    """

    model_config = ConfigDict(frozen=True)

    one: str
    other: str
    accuracy: Interval
    p_value: float

    @property
    def real(self) -> bool:
        """The difference is hardly one of chance."""
        return self.p_value < REAL

    def __str__(self) -> str:
        sign = "real" if self.real else "may be chance"
        value, low, high = (
            f"{100 * part:+.1f}" for part in (self.accuracy.value, self.accuracy.low, self.accuracy.high)
        )
        return f"{self.one} − {self.other}: {value} points ({low} to {high}), p = {self.p_value:.2g}: {sign}"


class Scoreboard(BaseModel):
    """What `evaluate` gives: a row for each model, in the order given.

    Attributes:
        rows: the models.
        differences: of every pair.
        labels: (K,) the classes of all the data, of which the pictures may be a part.
        images: pictures that all models answered, and all figures are of.
        failures: pictures that a model could not answer, and that were left out for all.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    table_columns: ClassVar[Mapping[str, ColumnKind]] = {
        "model": "text",
        "images": "integer",
        **dict.fromkeys(chain.from_iterable((name, f"{name}_low", f"{name}_high") for name in _FIGURES), "number"),
        "images_per_second": "number",
        "latency_p50_ms": "number",
        "latency_p95_ms": "number",
    }

    rows: tuple[ModelScore, ...]
    differences: tuple[Difference, ...] = ()
    labels: tuple[str, ...]
    images: int
    failures: tuple[FailureField, ...] = ()

    def __getitem__(self, model: str) -> ModelScore:
        """A model's row, by its name."""
        for row in self.rows:
            if row.model == model:
                return row
        raise KeyError(f"no model {model!r}; there are {', '.join(repr(row.model) for row in self.rows)}")

    def table_rows(self) -> Iterator[dict[str, Any]]:
        """A row for each model."""
        for row in self.rows:
            cells: dict[str, Any] = {"model": row.model, "images": self.images}
            for name in _FIGURES:
                found = row.figures.get(name)
                cells[name] = found.value if found else None
                cells[f"{name}_low"] = found.low if found else None
                cells[f"{name}_high"] = found.high if found else None
            cells["images_per_second"] = row.images_per_second
            cells["latency_p50_ms"], cells["latency_p95_ms"] = row.latency_p50_ms, row.latency_p95_ms
            yield cells

    def plot(self) -> Figure:
        """Every figure of every model with its interval, and the speeds, as a matplotlib figure."""
        from .figures import intervals_figure

        return intervals_figure(self._shown(), [(row.model, row.images_per_second) for row in self.rows])

    def learnt_before(self) -> list[str]:
        """Of each model that learnt from some of the pictures, how many: its figures say little of new ones."""
        seen = [(row.model, self._part_learnt(row)) for row in self.rows if row.learnt_found]
        return [f"{model} learnt from {part} of these pictures: its figures are too good" for model, part in seen]

    def _part_learnt(self, row: ModelScore) -> str:
        if row.learnt is None:
            return f"at least {row.learnt_found}"
        if row.learnt_told < self.images:
            return f"about {row.learnt:.0%}"
        return "all" if row.learnt == 1 else f"{row.learnt:.1%}"

    def _shown(self) -> dict[str, list[tuple[str, Interval]]]:
        """Figure, as a table calls it → model and interval."""
        found = {
            written: [(row.model, row.figures[name]) for row in self.rows if name in row.figures]
            for name, written in _FIGURES.items()
        }
        return {written: rows for written, rows in found.items() if rows}

    def notes(self) -> list[str]:
        """What must be known beside the figures: pictures learnt from or left out, and labels that do not match."""
        said = self.learnt_before()
        for row in self.rows:
            if row.missing:
                names = ", ".join(repr(name) for name in row.missing[:3]) + (" …" if len(row.missing) > 3 else "")
                said.append(f"{row.model} does not know {len(row.missing)} of the {len(self.labels)} classes: {names}")
            if row.foreign:
                said.append(f"{row.model} has {row.foreign} labels that the data lacks; to answer one counts as wrong")
        if self.failures:
            said.append(f"{len(self.failures)} pictures were left out for all models, the first: {self.failures[0]!r}")
        return said

    def __repr__(self) -> str:
        names = [name for name in _FIGURES if any(name in row.figures for row in self.rows)]
        table = [["model", *(_FIGURES[name] for name in names), "images/s", "ms p50", "ms p95"]]
        for row in self.rows:
            shown = [str(row.figures[name]) if name in row.figures else "" for name in names]
            times = [f"{t:.1f}" if t is not None else "" for t in (row.latency_p50_ms, row.latency_p95_ms)]
            table.append([printable(row.model), *shown, f"{row.images_per_second:.1f}", *times])
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        more = [printable(line) for line in (*map(str, self.differences), *self.notes())]
        head = f"Scoreboard({self.images} pictures, {len(self.labels)} classes; figures with 95% intervals)"
        return "\n".join([head, *lines, *more])

    def __str__(self) -> str:
        return repr(self)

    def _repr_html_(self) -> str:
        parts = [html.title(f"{self.images} pictures, {len(self.labels)} classes; figures with 95% intervals")]
        for written, rows in self._shown().items():
            parts += [html.note(written), html.ranges((model, i.value, i.low, i.high, str(i)) for model, i in rows)]
        parts += [html.note(row.model, *_speeds(row)) for row in self.rows]
        parts += [html.note(str(difference)) for difference in self.differences]
        parts += [html.warning(said) for said in self.notes()]
        return html.card("", *parts)


def _speeds(row: ModelScore) -> list[str]:
    times = {"p50": row.latency_p50_ms, "p95": row.latency_p95_ms}
    alone = [f"{written} {time:.1f} ms" for written, time in times.items() if time is not None]
    return [f"{row.images_per_second:.1f} images/s", *(["one alone: " + ", ".join(alone)] if alone else [])]
