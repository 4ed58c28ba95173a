"""`embed_texts`: texts as vectors in the space of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, overload

from ..errors import Failure, InputError
from ..models.protocols import TextEmbedder
from ..results import Embeddings
from .driver import Many, Runner, answer
from .resolve import resolve
from .vectors import TEXT_BATCH_SIZE, check_batch_size, check_text, joined, rows, text_embedder, text_vectors

if TYPE_CHECKING:
    import torch

DEFAULT_MODEL = "open_clip:ViT-B-32/laion2b_s34b_b79k"


@overload
def embed_texts(
    texts: str,
    *,
    model: object = DEFAULT_MODEL,
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
) -> Embeddings: ...


@overload
def embed_texts(
    texts: Many[str],
    *,
    model: object = DEFAULT_MODEL,
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
) -> Embeddings: ...


@overload
def embed_texts(
    texts: Iterator[str],
    *,
    model: object = DEFAULT_MODEL,
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
) -> Iterator[Embeddings]: ...


def embed_texts(
    texts: Any,
    *,
    model: object = DEFAULT_MODEL,
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
) -> Any:
    """Turns each text into a vector that can be compared with those that `embed` makes of pictures by the same model.

    Texts go in as they are, with no prompt around them. What exceeds the model's context (CLIP: 77 tokens) is cut off.

    Args:
        texts: one string, a sequence of them, or an iterator.
        model: a name, a saved folder, or a model object. By default "open_clip:ViT-B-32/laion2b_s34b_b79k".
        device: where to run; None chooses CUDA, then MPS, then the CPU.
        speed: "default", or "exact": float32, equal to the reference implementation.
        batch_size: texts in one step; None: 64.

    Returns:
        An `Embeddings`: of one row for a string; of a row for each text, in order, for a sequence, shape (0, D) when it
        is empty; for an iterator an iterator of those of one row, read lazily, one batch ahead.

    Raises:
        InputError: a text that is empty or no string, named by its position from 0; the error carries the rows before
            it in `.results`.
        CapabilityError: the model embeds no texts.
        ModelError: the model cannot be loaded, or gives features without a direction.
    """
    embedder = text_embedder(resolve(model, "embed_texts", device=device, speed=speed), "embed_texts")
    run = _runner(embedder, check_batch_size(batch_size, TEXT_BATCH_SIZE))
    found = answer(texts, run, single=lambda value: isinstance(value, str), progress=False)
    return joined(found, embedder.name, "texts", lambda: _width(embedder)) if isinstance(found, list) else found


def _runner(model: TextEmbedder, batch_size: int) -> Runner[str, Embeddings]:
    def run(texts: Iterator[str]) -> Iterator[Embeddings | Failure]:
        numbered = enumerate(texts)
        while chunk := list(islice(numbered, batch_size)):
            good: list[str] = []
            problem: Failure | None = None
            for position, text in chunk:
                try:
                    good.append(check_text(text, position))
                except InputError as err:  # the caller learns of it after the texts before it
                    problem = Failure(f"text {position}", position, err)
                    break
            if good:
                yield from rows(text_vectors(model, good), good, [p for p, _ in chunk[: len(good)]], model.name)
            if problem is not None:
                yield problem
                return

    return run


def _width(model: TextEmbedder) -> int:
    """D, which only running the model tells."""
    return int(model.text_features(["a"]).shape[1])
