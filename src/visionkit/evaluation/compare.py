"""`evaluate`: one or several models on the same pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from ..errors import Failure, InputError
from ..log import log
from ..models.labels import check_labels
from ..models.protocols import Describer, ImageEmbedder, TextEmbedder
from ..results import metrics
from ..results.intervals import difference
from ..results.scoreboard import Difference, ModelScore, Scoreboard
from ..tasks.resolve import resolve
from .answers import Answers, ask_model
from .judge import Judged, judge

if TYPE_CHECKING:
    import torch

    from ..training.data import Data, Labelled
    from ..training.origin import LearntShare


def evaluate(
    models: object,
    data: Data,
    *,
    labels: Sequence[str] | None = None,
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Scoreboard:
    """Measures one model, or compares several, on the same pictures.

    Every figure has a 95% confidence interval, from 1,000 resamples of the pictures (bootstrap, percentiles). Of each
    pair of models the difference in accuracy is tested: resamples are paired, and McNemar's exact test asks whether it
    may be chance; of several pairs, by Holm's correction. A picture that one model cannot read or answer is left out
    for all, and is listed in `.failures`.

    Labels are compared by name. A class of the data that a model does not know counts as answered wrongly, and so does
    a label that the data lacks; the scoreboard says how many there are of both. It also says which part of the pictures
    a model has learnt from, where the record of its training tells: a model that was saved with `out=` keeps digests of
    them.

    Args:
        models: a name, a saved folder, or a model object; or a list of these.
        data: pictures with their labels, in any form that `train` takes; where it has parts, its part "test" is
            measured on, else "val".
        labels: the names that image–text and hosted models choose from; by default the classes of all the data, also
            those that the measured part lacks.
        device: where to run; for models given by name.
        speed: "default", "fast", "fastest" or "exact", see `load_model`; for models given by name.
        batch_size: pictures in one step; None: 32.
        seed: of the resamples.
        progress: show a bar; None: when it takes over two seconds and someone is watching.

    Raises:
        InputError: data or models that make no sense; a model none of whose labels is in the data; no picture that all
            models can answer.
        CapabilityError: a model cannot classify.
        ModelError: a model cannot be loaded.
        TrainingError: no pictures, or fewer than two classes.
    """
    from ..training.data import read_data

    whole = read_data(data)
    pictures, classes = _measured(whole), whole.classes
    names = None if labels is None else check_labels(labels)
    loaded = [_load(model, device=device, speed=speed) for model in _several(models)]
    asked = []
    for model, name in zip(loaded, _distinct([model.name for model in loaded]), strict=True):
        choose = (names or classes) if _chooses(model) else None
        _check_labels(model, choose, classes)
        asked.append(ask_model(model, name, pictures, labels=choose, batch_size=batch_size, progress=progress))
    failures = _failures(asked)
    kept = [i for i in range(len(pictures)) if i not in failures]
    if not kept:
        first = failures[min(failures)]
        raise InputError(f"there is no picture that every model can answer; the first: {first}")
    judged = [judge(answers, pictures, kept, classes, seed=seed) for answers in asked]
    learnt = _learnt(loaded, pictures.choose(kept))
    board = Scoreboard(
        rows=tuple(_row(*one) for one in zip(asked, judged, learnt, strict=True)),
        differences=_differences(asked, judged, seed),
        labels=classes,
        images=len(kept),
        failures=tuple(failures[i] for i in sorted(failures)),
    )
    for said in board.learnt_before():
        log.warning("visionkit: %s", said)
    return board


def _several(models: object) -> list[object]:
    if isinstance(models, (str, os.PathLike)) or hasattr(models, "name") or hasattr(models, "state_dict"):
        return [models]
    found = list(models) if isinstance(models, Iterable) else [models]
    if not found:
        raise InputError("evaluate needs one model at least: a name, a saved folder, or a model object")
    return found


def _load(model: object, *, device: Any, speed: str) -> Any:
    by_name = isinstance(model, (str, os.PathLike))
    return resolve(model, "classify", device=device if by_name else None, speed=speed if by_name else "default")


def _distinct(names: list[str]) -> list[str]:
    return [
        name if names[:i].count(name) == 0 else f"{name} ({names[:i].count(name) + 1})" for i, name in enumerate(names)
    ]


def _chooses(model: object) -> bool:
    """Whether it has no classes of its own."""
    return isinstance(model, Describer) or (isinstance(model, ImageEmbedder) and isinstance(model, TextEmbedder))


def _check_labels(model: Any, choose: tuple[str, ...] | None, classes: tuple[str, ...]) -> None:
    known = choose if choose is not None else getattr(model, "labels", None)
    if known is not None and not set(known) & set(classes):
        raise InputError(
            f"none of the labels of {model.name} ({', '.join(map(repr, known[:3]))}, …) is among the data's classes "
            f"({', '.join(map(repr, classes[:3]))}, …): labels are compared by name"
        )


def _measured(data: Labelled) -> Labelled:
    """The part that is for measuring, where the data has parts."""
    for part in ("test", "val"):
        if part in data.parts:
            return data.part(part)
    return data


def _failures(asked: Sequence[Answers]) -> dict[int, Failure]:
    """Position → the first model's failure there."""
    found: dict[int, Failure] = {}
    for answers in asked:
        for i, failure in answers.failures.items():
            found.setdefault(i, failure)
    return found


def _learnt(models: Sequence[Any], pictures: Labelled) -> list[LearntShare]:
    """The part of the pictures that each model learnt from."""
    from ..training.origin import contents_of, learnt_share

    records = [getattr(model, "training_record", None) for model in models]
    contents = contents_of(pictures.sources) if any(records) else ()
    return [learnt_share(record, contents) for record in records]


def _row(answers: Answers, judged: Judged, learnt: LearntShare) -> ModelScore:
    return ModelScore(
        model=answers.name,
        figures=judged.figures,
        confusion=judged.confusion,
        missing=judged.missing,
        foreign=judged.foreign,
        learnt=learnt.share,
        learnt_found=learnt.found,
        learnt_told=learnt.told,
        images_per_second=answers.images_per_second,
        latency_p50_ms=answers.latency_ms(50),
        latency_p95_ms=answers.latency_ms(95),
    )


def _differences(asked: Sequence[Answers], judged: Sequence[Judged], seed: int) -> tuple[Difference, ...]:
    able = [i for i, one in enumerate(judged) if "accuracy" in one.figures]
    pairs = list(combinations(able, 2))
    tested = metrics.holm([metrics.mcnemar(judged[i].right, judged[j].right) for i, j in pairs])
    return tuple(
        Difference(
            one=asked[i].name,
            other=asked[j].name,
            accuracy=difference(judged[i].right, judged[j].right, seed=seed),
            p_value=p_value,
        )
        for (i, j), p_value in zip(pairs, tested, strict=True)
    )
