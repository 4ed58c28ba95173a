"""What a trained model came from: enough to know the same data and model again, and pictures that it learnt from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ..errors import TrainingError, VisionkitError
from ..images import Picture, Source, describe, is_tensor, load_image
from .datasets import Item
from .same_bytes import content_digest

if TYPE_CHECKING:
    from .labelled import Labelled

MOST_KEPT: Final = 4096
"""Pictures whose digests a record keeps: all, or those with the lowest, which are a fair sample."""

_LENGTH: Final = 12
"""Hexadecimal digits of a kept digest: two of a million pictures share one once in five hundred data sets."""

_LEAST_TOLD: Final = 20
"""Pictures that an estimate is made from: of fewer, half of them learnt from may look like all or none."""


def origin_of(learn: Labelled, check: Labelled, begun_with: dict[str, Any], earlier: object = None) -> dict[str, Any]:
    """What a training starts from, as JSON values for its record.

    Args:
        learn: what is to be learnt from.
        check: what is to be measured on.
        begun_with: the network, or the model and its weights.
        earlier: the record of the model's own training, whose pictures it has learnt from as well.
    """
    found = {"train": contents_of(learn.sources), "val": contents_of(check.sources)}
    data = {
        part: {"pictures": len(one), "sha256": _digest(one, found[part])}
        for part, one in (("train", learn), ("val", check))
    }
    known = {digest for digest in found["train"] if digest is not None}
    before, count = _learnt(earlier)
    learnt = {"pictures": count + len(known - before), "digests": "".join(sorted(known | before)[:MOST_KEPT])}
    origin: dict[str, Any] = json.loads(json.dumps({"data": data, "learnt": learnt, "begun_with": begun_with}))
    return origin


def refuse_other(folder: Path, record: dict[str, Any], origin: dict[str, Any]) -> None:
    """Compares the record of a training that has ended with what another call of it would start from.

    Raises:
        TrainingError: other pictures or labels, or another model.
    """
    for part, what in (("train", "to learn from"), ("val", "set aside")):
        then, now = ((one.get("data") or {}).get(part) or {} for one in (record, origin))
        if then != now:
            counts = f"{then.get('pictures')} pictures {what} then, {now.get('pictures')} now"
            same = ", with another content, order or label" if then.get("pictures") == now.get("pictures") else ""
            raise TrainingError(f"{folder} was trained on other data: {counts}{same}; give another out=")
    if record.get("begun_with") != origin["begun_with"]:
        raise TrainingError(f"{folder} was trained from another model, or from other weights; give another out=")


def contents_of(sources: Sequence[Source]) -> list[str | None]:
    """Digests of what files and bytes hold, and of what all else shows; None for addresses and what cannot be read.

    The items of a data set that have no stored bytes are made once more for it.
    """
    return [_content(source) for source in sources]


class LearntShare(NamedTuple):
    """The part of some pictures that a model learnt from.

    Attributes:
        share: 0–1; None: nothing is known, or of too few pictures for an estimate.
        found: pictures that it surely learnt from.
        told: pictures of which it is known whether it did.
    """

    share: float | None
    found: int
    told: int


def learnt_share(record: object, contents: Sequence[str | None]) -> LearntShare:
    """Which part of some pictures a model learnt from, by its training record, which may be a stranger's.

    Of over `MOST_KEPT` pictures that were learnt from, or where a content is not known, it is an estimate.

    Args:
        record: of the training; None: there is none.
        contents: of the pictures, see `contents_of`.
    """
    kept, pictures = _learnt(record)
    if not kept:
        return LearntShare(None, 0, 0)
    highest = max(kept)
    told = [one for one in contents if one is not None and (pictures <= len(kept) or one <= highest)]
    found = sum(one in kept for one in told)
    enough = told and (len(told) == len(contents) or len(told) >= _LEAST_TOLD)
    return LearntShare(found / len(told) if enough else None, found, len(told))


def _learnt(record: object) -> tuple[set[str], int]:
    """The digests that a record keeps, and of how many pictures (at most) they are; none where it does not tell."""
    learnt = record.get("learnt") if isinstance(record, dict) else None
    if not isinstance(learnt, dict) or not isinstance(learnt.get("digests"), str):
        return set(), 0
    text, pictures = learnt["digests"], learnt.get("pictures")
    kept = {text[i : i + _LENGTH] for i in range(0, len(text), _LENGTH)}
    return (kept, pictures) if kept and isinstance(pictures, int) else (set(), 0)


def _content(source: Any) -> str | None:
    made = isinstance(source, Item) and not source.content
    try:
        if made or isinstance(source, (Picture, np.ndarray)) or is_tensor(source):
            source = np.asarray(load_image(source))
        digest = content_digest(source)
    except VisionkitError:  # told where it is loaded to be learnt from
        return None
    return digest.hex()[:_LENGTH] if digest is not None else None


def _digest(data: Labelled, contents: Sequence[str | None]) -> str:
    """Of pictures in their order, by content or else by name, with their labels."""
    digest = hashlib.sha256()
    for source, content, names in zip(data.sources, contents, data.names(), strict=True):
        digest.update(
            json.dumps([content or (source if isinstance(source, str) else describe(source)), *names]).encode()
        )
    return digest.hexdigest()
