"""The names of ImageNet's 1,000 classes, in the order of the logits of networks trained on them."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files


@lru_cache(maxsize=1)
def imagenet_labels() -> tuple[str, ...]:
    """The 1,000 names; the two that the data set gives twice, crane and maillot, are told apart."""
    text = files(__package__).joinpath("imagenet_labels.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
