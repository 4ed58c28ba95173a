"""`embed_texts`: texts as vectors in the space of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

from ..errors import Failure, InputError
from ..models.protocols import TextEmbedder
from ..results import Embeddings
from .driver import Many, OnError, Runner, answer, chunks
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
    on_error: Literal["raise"] = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Embeddings: ...


@overload
def embed_texts(
    texts: Many[str],
    *,
    model: object = DEFAULT_MODEL,
    on_error: OnError = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Embeddings: ...


@overload
def embed_texts(
    texts: Iterator[str],
    *,
    model: object = DEFAULT_MODEL,
    on_error: Literal["raise"] = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Iterator[Embeddings]: ...


@overload
def embed_texts(
    texts: str,
    *,
    model: object = DEFAULT_MODEL,
    on_error: Literal["return"],
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Embeddings | Failure: ...


@overload
def embed_texts(
    texts: Iterator[str],
    *,
    model: object = DEFAULT_MODEL,
    on_error: Literal["return"],
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Iterator[Embeddings | Failure]: ...


def embed_texts(
    texts: Any,
    *,
    model: object = DEFAULT_MODEL,
    on_error: OnError = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Any:
    """Turns each text into a vector that can be compared with those that `embed` makes of pictures by the same model.

    Texts go in as they are: no prompt is put around them. What exceeds the model's context (CLIP: 77 tokens) is cut.

    Args:
        texts: one string, a sequence of them, or an iterator.
        model: a name, a saved folder, or a model object. By default "open_clip:ViT-B-32/laion2b_s34b_b79k".
        on_error: "raise" stops at the first text that is empty or no string, with an error that carries the rows
            before it, one `Embeddings` each, in `.results`; "return" goes on: a sequence's failures are in `.failures`,
            a single text and an iterator give a `Failure` in its place.
        device: where to run; None chooses CUDA, then MPS, then the CPU.
        speed: "default", as which "fastest" runs here; "fast": bfloat16 weights where the processor has them; or
            "exact": float32, as the reference implementation.
        batch_size: texts in one step; None: 64.
        progress: show a bar; None: when it takes over two seconds and someone is watching.

    Returns:
        An `Embeddings`: of one row for a string; of a row for each good text, in order, for a sequence, shape (0, D)
        when there is none; for an iterator an iterator of those of one row, read lazily, one batch at a time.

    Raises:
        InputError: a text that is empty or no string, named by its position from 0, under `on_error="raise"`.
        CapabilityError: the model embeds no texts.
        ModelError: the model cannot be loaded, or gives features without a direction.
    """
    embedder = text_embedder(
        resolve(model, "embed_texts", default=DEFAULT_MODEL, device=device, speed=speed), "embed_texts"
    )
    run = _runner(embedder, check_batch_size(batch_size, TEXT_BATCH_SIZE))
    found = answer(texts, run, single=lambda value: isinstance(value, str), on_error=on_error, progress=progress)
    return joined(found, embedder.name, "texts", lambda: _width(embedder)) if isinstance(found, list) else found


def _runner(model: TextEmbedder, batch_size: int) -> Runner[str, Embeddings]:
    def run(texts: Iterator[str]) -> Iterator[Embeddings | Failure]:
        for chunk in chunks(enumerate(texts), batch_size):
            outcomes: dict[int, Embeddings | Failure] = {}
            good: dict[int, str] = {}
            for position, text in chunk:
                try:
                    good[position] = check_text(text, position)
                except InputError as err:
                    outcomes[position] = Failure(f"text {position}", position, err)
            if good:
                names, positions = list(good.values()), list(good)
                made = rows(text_vectors(model, names), names, positions, model.name)
                outcomes.update(zip(positions, made, strict=True))
            for position in sorted(outcomes):
                yield outcomes[position]

    return run


def _width(model: TextEmbedder) -> int:
    """D, which only running the model tells."""
    return int(model.text_features(["a"]).shape[1])
