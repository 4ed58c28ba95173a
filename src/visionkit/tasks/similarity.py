"""`similarity`: how near are pictures and texts?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from ..errors import CapabilityError, Failure, InputError
from ..images import Source
from ..log import log
from .driver import Many, OnError, Runner, answer, as_sequence
from .local import over_batches
from .resolve import resolve
from .vectors import check_text, image_embedder, normalised, text_embedder, text_vectors

if TYPE_CHECKING:
    import torch

    from ..pipeline import Batch

DEFAULT_MODEL = "open_clip:ViT-B-32/laion2b_s34b_b79k"
Cosines: TypeAlias = npt.NDArray[np.float32]


@overload  # an open file is one source, though Python calls it an iterator
def similarity(  # type: ignore[overload-overlap]
    images: Source | Many[Source],
    texts: str | Many[str],
    *,
    model: object = DEFAULT_MODEL,
    on_error: OnError = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Cosines: ...


@overload
def similarity(
    images: Iterator[Source],
    texts: str | Many[str],
    *,
    model: object = DEFAULT_MODEL,
    on_error: OnError = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Iterator[Cosines]: ...


def similarity(
    images: Any,
    texts: str | Many[str],
    *,
    model: object = DEFAULT_MODEL,
    on_error: OnError = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Any:
    """Compares each picture with each text: the cosine of their vectors, from -1 to 1.

    Only the order of a row or column says much: CLIP's cosines of a picture and a text that fits it lie near 0.3. For
    probabilities, see `classify` with labels.

    Args:
        images: one source, a sequence of them, or an iterator; see `load_image`.
        texts: one string, or a sequence of them; encoded once. No prompt is put around them.
        model: a name, a saved folder, or a model object that embeds both. By default
            "open_clip:ViT-B-32/laion2b_s34b_b79k".
        on_error: "raise" stops at the first bad picture, with an error that carries the rows before it in `.results`;
            "return" gives it a row of NaN, and says why on the logger `visionkit`.
        device: where to run; None chooses CUDA, then MPS, then the CPU.
        speed: "default"; "fast": bfloat16 weights where the processor has them; "fastest": int8 on a CPU; or "exact":
            float32 and full decoding, pixels those of the reference implementation to one 8-bit level (rounding).
        batch_size: pictures in one step; None: 32.
        progress: show a bar; None: when it takes over two seconds and someone is watching.

    Returns:
        float32 (N, M): a row for each picture (one source: N = 1; an empty list: N = 0), a column for each text. For
        an iterator of pictures an iterator of rows (M,), read lazily, at most two batches ahead.

    Raises:
        InputError: no texts, one that is empty or no string; a bad source, under `on_error="raise"`.
        CapabilityError: the model does not embed both pictures and texts.
        ModelError: the model cannot be loaded.
    """
    both = _both(model, device, speed)
    names = [check_text(t, i) for i, t in enumerate([texts] if isinstance(texts, str) else as_sequence(texts))]
    if not names:
        raise InputError("similarity needs at least one text to compare with")
    columns = len(names)
    found = answer(images, _runner(both, names, batch_size), on_error=on_error, progress=progress)
    if isinstance(found, Iterator):
        return (_row(f, columns) for f in found)
    results = [_row(f, columns) for f in (found if isinstance(found, list) else [found])]
    return np.stack(results) if results else np.empty((0, columns), np.float32)


def _both(model: object, device: Any, speed: str) -> Any:
    try:
        loaded = resolve(model, "embed_texts", default=DEFAULT_MODEL, device=device, speed=speed)
        return text_embedder(image_embedder(loaded, "similarity"), "similarity")
    except CapabilityError as err:
        raise CapabilityError(
            f"similarity needs a model of images and texts, such as {DEFAULT_MODEL!r}: {err}"
        ) from err


def _runner(model: Any, texts: list[str], batch_size: int | None) -> Runner[Source, Cosines]:
    columns = text_vectors(model, texts)

    def answer_batch(batch: Batch) -> list[Cosines]:
        return list((normalised(model.image_features(batch)) @ columns.T).cpu().numpy())

    return over_batches(model, answer_batch, batch_size)


def _row(outcome: Cosines | Failure, columns: int) -> Cosines:
    if not isinstance(outcome, Failure):
        return outcome
    log.warning("similarity: a row of NaN for %r", outcome)
    return np.full(columns, np.nan, np.float32)
