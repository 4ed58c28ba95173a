"""Features of models become vectors of length 1, whose dot product is the cosine; what the comparing verbs share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..errors import CapabilityError, Failure, InputError, ModelError
from ..models.protocols import ImageEmbedder, TextEmbedder
from ..results import Embeddings
from .arguments import text_argument

if TYPE_CHECKING:
    from torch import Tensor

TEXT_BATCH_SIZE: Final = 64
"""Texts in one step, where the caller does not say."""


def image_embedder(model: Any, verb: str) -> ImageEmbedder:
    """The model, which turns pictures into vectors.

    Raises:
        CapabilityError: it does not.
    """
    if not isinstance(model, ImageEmbedder):
        raise CapabilityError(f"{verb} needs features of pictures, which {_name(model)} does not give")
    return model


def text_embedder(model: Any, verb: str) -> TextEmbedder:
    """The model, which turns texts into vectors.

    Raises:
        CapabilityError: it does not.
    """
    if not isinstance(model, TextEmbedder):
        raise CapabilityError(
            f"{verb} needs features of texts, as image–text models give them; {_name(model)} does not"
        )
    return model


def _name(model: Any) -> str:
    return str(getattr(model, "name", type(model).__name__))


def normalised(features: Tensor) -> Tensor:
    """(N, D) of any length → float32 (N, D), each row of length 1; a row of zeros stays so."""
    features = features.float()
    lengths: Tensor = features.norm(dim=-1, keepdim=True)
    return features / lengths.clamp_min(1e-12)


def text_vectors(model: TextEmbedder, texts: Sequence[str], batch_size: int = TEXT_BATCH_SIZE) -> Tensor:
    """float32 (N, D) of length 1, of at least one text."""
    import torch

    steps = range(0, len(texts), batch_size)
    return torch.cat([normalised(model.text_features(texts[i : i + batch_size])) for i in steps])


def rows(vectors: Tensor, sources: Sequence[str], indices: Sequence[int], model: str) -> list[Embeddings | Failure]:
    """float32 (N, D) of length 1 → one result for each row; a failure for one that points nowhere."""
    found: list[Embeddings | Failure] = []
    for row, source, index in zip(vectors.cpu().numpy(), sources, indices, strict=True):
        if np.isclose(row @ row, 1.0, atol=1e-3):
            found.append(Embeddings(vectors=row[None], sources=(source,), model=model, source=source))
        else:
            problem = f"{model} gives {source} no direction: its features are all zero, or not finite"
            found.append(Failure(source, index, ModelError(problem)))
    return found


def joined(found: Sequence[Embeddings | Failure], model: str, kind: str, width: Callable[[], int]) -> Embeddings:
    """One result of several rows, in order.

    Args:
        found: one-row results and failures.
        model: who made them.
        kind: what each was made from: "images" or "texts".
        width: finds D; called when no row tells it.
    """
    good = [f for f in found if isinstance(f, Embeddings)]
    return Embeddings(
        vectors=np.concatenate([g.vectors for g in good]) if good else np.empty((0, width()), np.float32),
        sources=tuple(s for g in good for s in g.sources),
        failures=tuple(f for f in found if isinstance(f, Failure)),
        model=model,
        source=f"{len(found)} {kind}",
    )


def check_text(text: object, position: int) -> str:
    """A text that can be embedded.

    Raises:
        InputError: no string, or an empty one; the message names its position.
    """
    checked = text_argument(f"text {position}", text)
    if not checked.strip():
        raise InputError(f"text {position} is empty: {text!r:.80}")
    return checked


def check_batch_size(batch_size: int | None, default: int) -> int:
    """The number of inputs in one step.

    Raises:
        InputError: below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size={batch_size!r} must be a whole number of at least 1")
    return default if batch_size is None else batch_size
