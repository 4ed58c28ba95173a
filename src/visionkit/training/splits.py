"""What to learn from and what to measure on: the parts that the data names, or a stratified fraction by a seed."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

from sklearn.model_selection import train_test_split

from ..errors import InputError, TrainingError
from .labelled import Labelled


def split(data: Labelled, fraction: float, seed: int) -> tuple[Labelled, Labelled]:
    """What to learn from, and what to measure on.

    Where the data has parts of its own, these: "train", and "val", or "test" where there is no "val". Else a fraction
    of every class alike, the same for the same seed; where a picture may have several, every class is among those to
    learn from, and among the others where it can be. A class that one of the two lacks keeps its name and place.

    Raises:
        InputError: a fraction that is not between 0 and 1.
        TrainingError: a class with a single picture, or too few pictures for a part of every class; parts of the data's
            own of which one is missing, or measures a class that the other lacks.
    """
    if not 0.0 < fraction < 1.0:
        raise InputError(f"validation={fraction} must be a fraction between 0 and 1, or data")
    if set(data.parts) - {"train"}:
        return _by_parts(data)
    counts = Counter(name for names in data.names() for name in names)
    lonely = [label for label, count in counts.items() if count < 2]
    if lonely:
        raise TrainingError(f"the class {lonely[0]!r} has one picture; two at least are needed to learn and to check")
    if data.multi_label:
        learn, check = _stratified_by_rarest(data, counts, fraction, seed)
    else:
        learn, check = _stratified(data, fraction, seed)
    return data.choose(sorted(learn)), data.choose(sorted(check))


def check_classes(learn: Labelled, check: Labelled) -> None:
    """Refuses to measure what cannot be learnt.

    Raises:
        TrainingError: the validation data has a class that the data to learn from lacks, or another kind of labels.
    """
    if len(check) and learn.multi_label != check.multi_label:
        raise TrainingError("the validation data and the data to learn from differ: only one has lists of labels")
    unknown = sorted({name for names in check.names() for name in names} - set(learn.classes))
    if unknown:
        raise TrainingError(f"the validation data has the class {unknown[0]!r}, which the data to learn from lacks")


def _by_parts(data: Labelled) -> tuple[Labelled, Labelled]:
    learn, check = data.part("train"), data.part("val")
    if not len(check):
        check = data.part("test")
    if not len(learn):
        raise TrainingError(
            f"the data has the parts {', '.join(sorted(set(data.parts)))}, but none to train on: 'train'"
        )
    if len(learn.classes) < 2:
        raise TrainingError(f"the part to train on has one class only, {learn.classes[0]!r}: a classifier needs two")
    check_classes(learn, check)
    return learn, check


def _stratified(data: Labelled, fraction: float, seed: int) -> tuple[list[int], list[int]]:
    try:
        learn, check = train_test_split(
            range(len(data)), test_size=fraction, stratify=data.labels, random_state=seed, shuffle=True
        )
    except ValueError as err:
        raise TrainingError(
            f"{len(data)} pictures of {len(data.classes)} classes are too few to set {fraction:.0%} aside: {err}"
        ) from err
    return learn, check


def _stratified_by_rarest(
    data: Labelled, counts: Counter[str], fraction: float, seed: int
) -> tuple[list[int], list[int]]:
    """Splits the pictures that share their rarest label; then mends what has put a label on one side alone."""
    groups: dict[str | None, list[int]] = defaultdict(list)
    for index, names in enumerate(data.names()):
        groups[min(names, key=lambda name: (counts[name], name), default=None)].append(index)
    order = random.Random(seed)  # noqa: S311 - a split, no secret
    learn: list[int] = []
    check: list[int] = []
    for name in sorted(groups, key=lambda name: (name is not None, name or "")):
        members = groups[name]
        order.shuffle(members)
        aside = min(max(1, round(fraction * len(members))), len(members) - 1)
        check.extend(members[:aside])
        learn.extend(members[aside:])
    _move_missing(data, learn, check)
    _move_missing(data, check, learn)  # which must have them all
    _move_missing(data, learn, check, spare=True)
    if not check:
        raise TrainingError(f"{len(data)} pictures are too few to set {fraction:.0%} aside")
    return learn, check


def _move_missing(data: Labelled, giving: list[int], taking: list[int], *, spare: bool = False) -> None:
    """Moves pictures from one side to the other, in place, until that has every label.

    Of those with a missing label, the one whose labels the giving side has most often; under `spare` none whose labels
    the giving side would then lack.
    """
    left = Counter(name for i in giving for name in data.names_of(i))
    there = Counter(name for i in taking for name in data.names_of(i))
    missing = sorted(left.keys() - there.keys(), key=lambda name: (left[name], name))
    pictures: dict[str, list[int]] = {name: [] for name in missing}
    for i in giving:
        for name in pictures.keys() & data.names_of(i):
            pictures[name].append(i)
    moved: set[int] = set()
    for label in missing:
        able = {i: min(left[name] for name in data.names_of(i)) for i in pictures[label]}
        best = max(able, key=lambda i: (able[i], -i))
        if there[label] or (spare and able[best] < 2):
            continue
        moved.add(best)
        left.subtract(data.names_of(best))
        there.update(data.names_of(best))
    giving[:] = [i for i in giving if i not in moved]
    taking.extend(sorted(moved))
