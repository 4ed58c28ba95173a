"""`embed`: pictures as vectors that can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from ..errors import Failure
from ..images import Source
from ..models.protocols import ImageEmbedder
from ..results import Embeddings
from .driver import Many, OnError, Runner, answer
from .local import over_batches
from .resolve import resolve
from .vectors import image_embedder, joined, normalised, rows

if TYPE_CHECKING:
    import torch

    from ..pipeline import Batch

DEFAULT_MODEL = "visionkit:efficientnet_lite0"


@overload  # an open file is one source, though Python calls it an iterator
def embed(  # type: ignore[overload-overlap]
    images: Source,
    *,
    model: object = DEFAULT_MODEL,
    on_error: Literal["raise"] = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Embeddings: ...


@overload
def embed(
    images: Many[Source],
    *,
    model: object = DEFAULT_MODEL,
    on_error: OnError = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Embeddings: ...


@overload
def embed(
    images: Iterator[Source],
    *,
    model: object = DEFAULT_MODEL,
    on_error: Literal["raise"] = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Iterator[Embeddings]: ...


@overload  # an open file is one source, though Python calls it an iterator
def embed(  # type: ignore[overload-overlap]
    images: Source,
    *,
    model: object = DEFAULT_MODEL,
    on_error: Literal["return"],
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Embeddings | Failure: ...


@overload
def embed(
    images: Iterator[Source],
    *,
    model: object = DEFAULT_MODEL,
    on_error: Literal["return"],
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Iterator[Embeddings | Failure]: ...


def embed(
    images: Any,
    *,
    model: object = DEFAULT_MODEL,
    on_error: OnError = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Any:
    """Turns each picture into a vector; pictures that look alike to the model have a cosine near 1.

    Args:
        images: one source, a sequence of them, or an iterator; see `load_image`.
        model: a name, a saved folder, or a model object. By default "visionkit:efficientnet_lite0" (needs no network);
            an image–text model, such as "open_clip:ViT-B-32/laion2b_s34b_b79k", gives vectors that can be compared
            with those of `embed_texts`.
        on_error: "raise" stops at the first bad input, with an error that carries the rows before it, one `Embeddings`
            each, in `.results`; "return" goes on: a sequence's failures are in `.failures`, a single source and an
            iterator give a `Failure` in its place.
        device: where to run; None chooses CUDA, then MPS, then the CPU.
        speed: "default"; "fast": bfloat16 weights where the processor has them; "fastest": int8 on a CPU; or "exact":
            float32 and full decoding, pixels those of the reference implementation to one 8-bit level (rounding).
        batch_size: pictures in one step; None: 32.
        progress: show a bar; None: when it takes over two seconds and someone is watching.

    Returns:
        An `Embeddings`: of one row for one source; of a row for each good source, in order, for a sequence (not a list,
        as other verbs give), shape (0, D) when there is none; for an iterator an iterator of those of one row, read
        lazily, at most two batches ahead.

    Raises:
        InputError: a bad source, under `on_error="raise"`; an argument that cannot be used.
        CapabilityError: the model gives no features.
        ModelError: the model cannot be loaded, or gives features without a direction.
    """
    embedder = image_embedder(resolve(model, "embed", default=DEFAULT_MODEL, device=device, speed=speed), "embed")
    found = answer(images, _runner(embedder, batch_size), on_error=on_error, progress=progress)
    return joined(found, embedder.name, "images", lambda: _width(embedder)) if isinstance(found, list) else found


def _runner(model: ImageEmbedder, batch_size: int | None) -> Runner[Source, Embeddings]:
    def answer_batch(batch: Batch) -> list[Embeddings | Failure]:
        return rows(normalised(model.image_features(batch)), batch.sources, batch.indices, model.name)

    return over_batches(model, answer_batch, batch_size)


def _width(model: ImageEmbedder) -> int:
    """D, which only running the model tells: on one blank picture."""
    from ..pipeline import Batches

    width, height = model.preprocess.size_wh
    blank = np.zeros((height, width, 3), np.uint8)
    batch = next(Batches([blank], model.preprocess, batch_size=1, device=model.device, speed=model.speed))
    return int(model.image_features(batch).shape[1])
