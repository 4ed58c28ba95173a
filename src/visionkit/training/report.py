"""The report of a training: one HTML file that needs nothing else, and shows what was learnt and how well."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..errors import Failure, InputError
from ..extras import DISTRIBUTION
from ..images import Picture, Source, load_image
from ..images.thumbnails import picture_uri, read_again
from ..log import log
from ..results import charts, html
from ..results.intervals import Interval
from ..results.metrics import class_scores
from .page import page, section, table, words

if TYPE_CHECKING:
    from .calibration import Calibration
    from .data_report import DataReport
    from .evidence import Evidence, Mistake

_NAMED: Final = 20
"""Classes whose confusion matrix is a table; of more it is a picture."""

_OPEN: Final = 40
"""Rows of a table that stand open; more are folded away."""

_FAILURES: Final = 200
_THUMBNAIL: Final = 96
_LARGE: Final = 320
_NAMES: Final = {
    "accuracy": "accuracy",
    "top5_accuracy": "top-5 accuracy",
    "macro_f1": "macro F1",
    "auroc": "AUROC",
    "mean_average_precision": "mean average precision",
    "ece": "calibration error",
}


class Reported(Protocol):
    """What a report is about: `TrainingRun`, whose fields these are."""

    model: Any
    history: tuple[Any, ...]
    metrics: dict[str, float]
    figures: dict[str, Interval]
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration: Calibration | None
    worst: tuple[Mistake, ...]
    failures: tuple[Failure, ...]
    data: DataReport | None
    folder: Path | None


def report_html(run: Reported, evidence: Evidence | None = None) -> str:
    """The report as a page.

    Args:
        run: what it is about.
        evidence: pictures and settings; without, as of a run that was read from JSON, only what the run itself knows.
    """
    title = "Training report"
    if run.folder is not None:
        title += f": {run.folder.name}"
    parts = [
        f"<h1>{html.text(title)}</h1>",
        words(_summary(run)),
        _figures(run),
        section("Data", _warnings(run), _data(run, evidence)),
        section("Learning", _curves(run)),
        section("Confusion", _confusion(run)),
        section("Every class", _classes(run)),
        section("Calibration", _calibration(run)),
        section("Worst mistakes", _worst(run, evidence)),
        section("Settings and versions", _settings(run, evidence)),
        section("Pictures that could not be loaded", _failures(run)),
    ]
    return page(title, "\n".join(part for part in parts if part))


def _summary(run: Reported) -> str:
    seconds = sum(record.seconds for record in run.history)
    model = getattr(run.model, "name", None)
    said = f"{model}: " if model else ""
    count = len(run.history)
    return (
        f"{said}{len(run.labels)} classes, {count} epoch{'s' if count != 1 else ''} in {seconds:.1f} s; measured on "
        f"{run.metrics.get('validation_images', 0):.0f} pictures that were not learnt from."
    )


def _figures(run: Reported) -> str:
    figures = {name: run.figures[name] for name in _NAMES if name in run.figures}
    if run.calibration is not None:
        figures["ece"] = run.calibration.after
    cards = [
        f"<div>{_NAMES[name]}<b>{interval.value:.1%}</b>"
        f'<span class="quiet">{interval.low:.1%} to {interval.high:.1%}</span></div>'
        for name, interval in figures.items()
    ]
    if not cards:
        cards = [f"<div>{html.text(name)}<b>{value:.4g}</b></div>" for name, value in run.metrics.items()]
    note = "The ranges are 95% confidence intervals: what another set of so many pictures might have shown."
    return f'<div class="figures">{"".join(cards)}</div>' + (words(note, "quiet") if figures else "")


def _data(run: Reported, evidence: Evidence | None) -> str:
    if evidence is None and run.data is None:
        return ""
    rows = []
    for label in run.labels:
        found = run.data.counts.get(label, {}) if run.data is not None else {}
        counts = found.get("train", 0), found.get("val", 0)
        shots: list[str] = []
        if evidence is not None:
            counts = evidence.learnt.get(label, 0), evidence.set_aside.get(label, 0)
            shots = [_shot(source, f"example of {label}") for source in evidence.examples.get(label, ())]
        examples = f'<div class="shots">{"".join(shots)}</div>'
        rows.append((html.text(label), *map(str, counts), examples))
    return _folded(("class", "learnt", "set aside", "examples"), rows, frozenset({1, 2}))


def _warnings(run: Reported) -> str:
    found = run.data.warnings if run.data is not None else ()
    return "".join(words(f"{warning[:1].upper()}{warning[1:]}.", "bad") for warning in found)


def _curves(run: Reported) -> str:
    records = run.history
    loss = {"learnt": [r.loss for r in records], "set aside": [r.validation_loss for r in records]}
    accuracy = {"accuracy": [r.accuracy for r in records]}
    last = records[-1] if records else None
    heard = f": {last.validation_loss:.3g} in the end, accuracy {last.accuracy:.1%}" if last else ""
    return (
        f'<div class="row"><div><h3>Loss</h3>{charts.lines(loss, "loss over the epochs" + heard)}</div>'
        f"<div><h3>Accuracy on pictures set aside</h3>"
        f"{charts.lines(accuracy, 'accuracy over the epochs' + heard, percent=True)}</div></div>"
    )


def _confusion(run: Reported) -> str:
    if not run.confusion:
        return ""
    pairs = [(count, i, j) for i, row in enumerate(run.confusion) for j, count in enumerate(row) if i != j and count]
    pairs.sort(reverse=True)
    often = [words(f"{count} × {run.labels[i]} was called {run.labels[j]}") for count, i, j in pairs[:10]]
    listed = "<h3>Most frequent</h3>" + "".join(often) if often else words("No picture was called by another name.")
    if len(run.labels) > _NAMED:
        return charts.matrix(run.confusion, "confusion matrix: row the true class, column the answer") + listed
    head = "".join(f"<th>{i + 1}</th>" for i in range(len(run.labels)))
    rows = []
    for i, (label, row) in enumerate(zip(run.labels, run.confusion, strict=True)):
        cells = "".join(_cell(count, row, i == j) for j, count in enumerate(row))
        rows.append(f"<tr><th>{i + 1} {html.text(label)}</th>{cells}</tr>")
    top = f"<tr><th>is \\ called</th>{head}</tr>"
    grid = f'<div class="wide" tabindex="0"><table class="grid">{top}{"".join(rows)}</table></div>'
    return (
        words("Rows: what the pictures are. Columns: what they were called, by the number of the row.") + grid + listed
    )


def _cell(count: int, row: Sequence[int], right: bool) -> str:
    if not count:
        return "<td></td>"
    color = "var(--c0)" if right else "var(--c1)"
    strength = 12 + 55 * count / sum(row)
    return f'<td style="background:color-mix(in srgb,{color} {strength:.0f}%,transparent)">{count}</td>'


def _classes(run: Reported) -> str:
    if not run.confusion:
        return ""
    scores = class_scores(run.confusion, run.labels)
    if len(scores) > _OPEN:
        scores = tuple(sorted(scores, key=lambda score: score.f1))
    rows = [(html.text(s.label), f"{s.precision:.1%}", f"{s.recall:.1%}", f"{s.f1:.1%}", str(s.images)) for s in scores]
    explained = words(
        "Precision: of the pictures called so, how many are. Recall: of the pictures that are, how many were called "
        "so. F1: both in one.",
        "quiet",
    )
    return explained + _folded(("class", "precision", "recall", "F1", "pictures"), rows, frozenset({1, 2, 3, 4}))


def _calibration(run: Reported) -> str:
    found = run.calibration
    if found is None:
        return ""
    text = (
        f"Logits are divided by a temperature of {found.temperature:.3f}, which is saved with the model. The expected "
        f"calibration error, the mean distance between how sure an answer is and how often such answers are right, is "
        f"{_written(found.before)} without it, and {_written(found.after)} with it, measured on pictures that took no "
        f"part in finding it (in five turns)."
    )
    if found.temperature == 1.0:
        text = (
            f"The expected calibration error, the mean distance between how sure an answer is and how often such "
            f"answers are right, is {_written(found.before)}. No temperature made it better on pictures that it was "
            f"not fitted on, so probabilities stay as they are."
        )
    before = charts.reliability(found.bins_before, "how often answers are right, over how sure they are, before")
    drawn = f'<div class="row"><div><h3>Before</h3>{before}</div>'
    if found.temperature != 1.0:
        after = charts.reliability(found.bins_after, "how often answers are right, over how sure they are, after")
        drawn += f"<div><h3>After</h3>{after}</div>"
    hint = "Bars above the broken line: more often right than they say; below it: less often. Pale bars stand for few."
    return words(text) + drawn + "</div>" + words(hint, "quiet")


def _worst(run: Reported, evidence: Evidence | None) -> str:
    if not run.worst:
        return ""
    sources: Sequence[Source | None] = evidence.worst if evidence is not None else [None] * len(run.worst)
    explain = evidence.explain if evidence is not None else None
    figures = []
    for mistake, source in zip(run.worst, sources, strict=True):
        picture = _picture(source, mistake.source)
        shown = "" if picture is None else html.image(picture_uri(picture, _LARGE), f"picture of {mistake.label}")
        if picture is not None and explain is not None and not mistake.missed:
            shown += _heat(explain, picture, mistake)
        said = (
            f"<b>{html.text(mistake.answer)}</b>, {mistake.probability:.1%} sure; it is "
            f'<b>{html.text(mistake.label)}</b><br><span class="quiet">{html.text(mistake.source)}</span>'
        )
        figures.append(f"<figure><div>{shown}</div><figcaption>{said}</figcaption></figure>")
    said = "The wrong answers that the model was surest of" + (
        "; beside each the places that speak for its answer." if explain is not None else "."
    )
    return words(said, "quiet") + f'<div class="worst">{"".join(figures)}</div>'


def _heat(explain: Any, picture: Picture, mistake: Mistake) -> str:
    try:
        overlay = explain(picture, mistake.answer).overlay(picture)
    except Exception as err:  # noqa: BLE001 - hours of training are not lost to a drawing, whatever the network raises
        log.info("no heat map for the report: %s", err)
        return ""
    return html.image(picture_uri(overlay, _LARGE), f"where the model sees {mistake.answer}")


def _settings(run: Reported, evidence: Evidence | None) -> str:
    settings = dict(evidence.settings) if evidence is not None else {}
    rows = [(html.text(name), html.text(_plain(value))) for name, value in _flat(settings).items()]
    if run.model is not None:
        preprocess = getattr(run.model, "preprocess", None)
        rows += [("model", html.text(repr(run.model))), ("preprocess", html.text(preprocess))]
    packages = (DISTRIBUTION, "torch", "torchvision", "numpy", "pillow", "scikit-learn")
    rows += [(html.text(name), html.text(version(name))) for name in packages]
    rows.append(("python", html.text(f"{platform.python_version()} on {platform.system()} {platform.machine()}")))
    return table(("name", "value"), rows)


def _failures(run: Reported) -> str:
    rows = [
        (html.text(failure.source), html.text(f"{type(failure.error).__name__}: {failure.error}"))
        for failure in run.failures[:_FAILURES]
    ]
    more = len(run.failures) - len(rows)
    return (_folded(("picture", "why"), rows) if rows else "") + (words(f"… {more} more") if more else "")


def _folded(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], numbers: frozenset[int] = frozenset()) -> str:
    """A table; one of many rows is folded away."""
    whole = table(head, rows, numbers=numbers)
    return whole if len(rows) <= _OPEN else f"<details><summary>{len(rows)} rows</summary>{whole}</details>"


def _shot(source: Source, alt: str) -> str:
    picture = _picture(source, "")
    return "" if picture is None else html.image(picture_uri(picture, _THUMBNAIL), alt)


def _picture(source: Source | None, name: str) -> Picture | None:
    """A picture of this machine; None where it cannot be read, or would have to be fetched."""
    try:
        if source is None:
            return read_again(name)
        if isinstance(source, (str, os.PathLike)):
            return read_again(os.fspath(source))
        return load_image(source)
    except InputError:
        return None


def _written(interval: Interval) -> str:
    return f"{interval.value:.1%} ({interval.low:.1%} to {interval.high:.1%})"


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings within settings, by names with a dot."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        inner = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        if isinstance(inner, Mapping) and inner:
            found.update({f"{name}.{key}": part for key, part in _flat(inner).items()})
        else:
            found[name] = inner
    return found


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
