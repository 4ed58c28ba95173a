"""`detect`: what is where in a picture?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from ..errors import CapabilityError, Failure, InputError, ModelError
from ..images import Fit, Source
from ..models.labels import check_labels
from ..models.protocols import Boxes, Detector
from ..results import Detections
from .arguments import score
from .driver import Many, OnError, Runner, answer
from .local import over_batches
from .misfits import fitting
from .resolve import resolve

if TYPE_CHECKING:
    import torch

    from ..pipeline import Batch

DEFAULT_MODEL = "transformers:PekingU/rtdetr_r18vd_coco_o365"


@overload  # an open file is one source, though Python calls it an iterator
def detect(  # type: ignore[overload-overlap]
    images: Source,
    labels: Sequence[str] | None = None,
    *,
    model: object = DEFAULT_MODEL,
    threshold: float = 0.5,
    on_error: Literal["raise"] = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Detections: ...


@overload
def detect(
    images: Many[Source],
    labels: Sequence[str] | None = None,
    *,
    model: object = DEFAULT_MODEL,
    threshold: float = 0.5,
    on_error: Literal["raise"] = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> list[Detections]: ...


@overload
def detect(
    images: Iterator[Source],
    labels: Sequence[str] | None = None,
    *,
    model: object = DEFAULT_MODEL,
    threshold: float = 0.5,
    on_error: Literal["raise"] = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Iterator[Detections]: ...


@overload  # an open file is one source, though Python calls it an iterator
def detect(  # type: ignore[overload-overlap]
    images: Source,
    labels: Sequence[str] | None = None,
    *,
    model: object = DEFAULT_MODEL,
    threshold: float = 0.5,
    on_error: Literal["return"],
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Detections | Failure: ...


@overload
def detect(
    images: Many[Source],
    labels: Sequence[str] | None = None,
    *,
    model: object = DEFAULT_MODEL,
    threshold: float = 0.5,
    on_error: Literal["return"],
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> list[Detections | Failure]: ...


@overload
def detect(
    images: Iterator[Source],
    labels: Sequence[str] | None = None,
    *,
    model: object = DEFAULT_MODEL,
    threshold: float = 0.5,
    on_error: Literal["return"],
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Iterator[Detections | Failure]: ...


def detect(
    images: Any,
    labels: Sequence[str] | None = None,
    *,
    model: object = DEFAULT_MODEL,
    threshold: float = 0.5,
    on_error: OnError = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Any:
    """Finds the objects in each picture: a box, a name and a score for each.

    Args:
        images: one source, a sequence of them, or an iterator; see `load_image`.
        labels: for a detector that finds what it is told to. Those that work today know fixed classes and refuse them.
        model: a name, such as "transformers:" with a repository or a folder, or a model object. By default a small
            RT-DETR with COCO's 80 classes, "transformers:PekingU/rtdetr_r18vd_coco_o365" (81 MB, fetched once).
        threshold: only objects with a score above this, in 0–1.
        on_error: "raise" stops at the first bad input, with an error that carries the answers before it in
            `.results`; "return" puts a `Failure` in its place.
        device: where to run; None chooses CUDA, then MPS, then the CPU.
        speed: "default"; "exact": full decoding, pixels those of the reference implementation to one 8-bit level
            (rounding); "fast" and "fastest" are "default". Detectors run in float32 at every speed.
        batch_size: pictures in one step; None: 32.
        progress: show a bar; None: when it takes over two seconds and someone is watching.

    Returns:
        `Detections` for one source, a list for a sequence, an iterator for an iterator (read lazily, at most two
        batches ahead). Boxes are in pixels of the upright picture, and clipped to it.

    Raises:
        InputError: labels for a model with fixed classes, a threshold outside 0–1, an argument that does not go with
            the model; a bad source, under `on_error="raise"`.
        CapabilityError: the model cannot detect.
        ModelError: the model cannot be loaded, or found what cannot be: a score that is no number, boxes for another
            number of pictures.
    """
    names = None if labels is None else check_labels(labels)
    least = score("threshold", threshold)
    loaded = resolve(model, "detect", default=DEFAULT_MODEL, device=device, speed=speed)
    if not isinstance(loaded, Detector):
        raise CapabilityError(f"{getattr(loaded, 'name', type(loaded).__name__)} cannot detect")
    if names is not None:
        raise InputError(
            f"{loaded.name} finds its own {len(loaded.labels)} classes and takes no labels; leave them out and choose "
            f"afterwards: found.boxes_xyxy[[label in {list(names)[:2]!r} for label in found.labels]]"
        )
    return answer(images, _runner(loaded, least, batch_size), on_error=on_error, progress=progress)


def _runner(model: Detector, threshold: float, batch_size: int | None) -> Runner[Source, Detections]:
    def answer_batch(batch: Batch) -> list[Detections | Failure]:
        found: object = model.detect_boxes(batch, threshold=threshold)
        if not isinstance(found, Sequence) or len(found) != len(batch):
            given = f"boxes of {len(found)}" if isinstance(found, Sequence) else f"a {type(found).__name__}"
            text = f"{model.name}: gave {given} for {len(batch)} pictures; this is the model's mistake"
            where = zip(batch.sources, batch.indices, strict=True)
            return [Failure(source, index, ModelError(text)) for source, index in where]
        return [
            _detections_or_failure(found[i], batch.fits[i], model.name, (batch.sources[i], batch.indices[i]))
            for i in range(len(batch))
        ]

    return over_batches(model, answer_batch, batch_size)


def _detections_or_failure(boxes: Boxes, fit: Fit, model: str, where: tuple[str, int]) -> Detections | Failure:
    source, index = where
    try:
        with fitting(model, "what it found"):
            return _detections(boxes, fit, model, source)
    except ModelError as err:
        return Failure(source, index, err)


def _detections(boxes: Boxes, fit: Fit, model: str, source: str) -> Detections:
    """Boxes of the input become boxes of the picture: mapped, clipped, their corners in order."""
    corners = fit.boxes_to_image(boxes.boxes_xyxy).reshape(-1, 2, 2)
    return Detections(
        boxes_xyxy=np.sort(corners, axis=1).reshape(-1, 4),
        labels=boxes.labels,
        scores=np.array(boxes.scores, np.float32),
        size_wh=fit.image_wh,
        model=model,
        source=source,
    )
