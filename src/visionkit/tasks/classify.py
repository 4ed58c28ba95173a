"""`classify`: what does a picture show?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from ..errors import CapabilityError, Failure, InputError
from ..images import Source
from ..models.labels import check_labels
from ..models.protocols import Classifier, Describer, ImageEmbedder, TextEmbedder
from ..results import Classification
from .driver import Many, OnError, Runner, answer
from .local import over_batches
from .ranking import ranked
from .resolve import resolve

if TYPE_CHECKING:
    import torch

    from ..pipeline import Batch

DEFAULT_MODEL = "visionkit:efficientnet_lite0"
DEFAULT_ZERO_SHOT_MODEL = "open_clip:ViT-B-32/laion2b_s34b_b79k"


@overload  # an open file is one source, though Python calls it an iterator
def classify(  # type: ignore[overload-overlap]
    images: Source,
    labels: Sequence[str] | None = None,
    *,
    model: object = None,
    prompts: Sequence[str] | None = None,
    multi_label: bool = False,
    abstain_below: float | None = None,
    on_error: Literal["raise"] = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Classification: ...


@overload
def classify(
    images: Many[Source],
    labels: Sequence[str] | None = None,
    *,
    model: object = None,
    prompts: Sequence[str] | None = None,
    multi_label: bool = False,
    abstain_below: float | None = None,
    on_error: Literal["raise"] = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> list[Classification]: ...


@overload
def classify(
    images: Iterator[Source],
    labels: Sequence[str] | None = None,
    *,
    model: object = None,
    prompts: Sequence[str] | None = None,
    multi_label: bool = False,
    abstain_below: float | None = None,
    on_error: Literal["raise"] = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Iterator[Classification]: ...


@overload  # an open file is one source, though Python calls it an iterator
def classify(  # type: ignore[overload-overlap]
    images: Source,
    labels: Sequence[str] | None = None,
    *,
    model: object = None,
    prompts: Sequence[str] | None = None,
    multi_label: bool = False,
    abstain_below: float | None = None,
    on_error: Literal["return"],
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Classification | Failure: ...


@overload
def classify(
    images: Many[Source],
    labels: Sequence[str] | None = None,
    *,
    model: object = None,
    prompts: Sequence[str] | None = None,
    multi_label: bool = False,
    abstain_below: float | None = None,
    on_error: Literal["return"],
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> list[Classification | Failure]: ...


@overload
def classify(
    images: Iterator[Source],
    labels: Sequence[str] | None = None,
    *,
    model: object = None,
    prompts: Sequence[str] | None = None,
    multi_label: bool = False,
    abstain_below: float | None = None,
    on_error: Literal["return"],
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Iterator[Classification | Failure]: ...


def classify(
    images: Any,
    labels: Sequence[str] | None = None,
    *,
    model: object = None,
    prompts: Sequence[str] | None = None,
    multi_label: bool = False,
    abstain_below: float | None = None,
    on_error: OnError = "raise",
    device: str | torch.device | None = None,
    speed: str = "default",
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Any:
    """Names what each picture shows: by a model's own classes, or by any `labels` you give.

    Args:
        images: one source, a sequence of them, or an iterator; see `load_image`.
        labels: names to choose from, with an image–text model (zero-shot) or a hosted one; a model with a fixed class
            head refuses them.
        model: a name, a saved folder, or a model object. By default "visionkit:efficientnet_lite0" (ImageNet's 1,000
            classes; needs no network), and with labels "open_clip:ViT-B-32/laion2b_s34b_b79k".
        prompts: for an image–text model: templates with `{}` for the label, whose features are averaged.
        multi_label: several labels may be true at once: a probability each (sigmoid) instead of a choice (softmax).
            An image–text model that was trained to choose gives its cosines, as `score_kind="similarity"`. A model
            that was trained on pictures with several labels each gives a probability each in any case.
        abstain_below: with a best score below this, `.label` is None.
        on_error: "raise" stops at the first bad input, with an error that carries the answers before it in
            `.results`; "return" puts a `Failure` in its place.
        device: where to run; None chooses CUDA, then MPS, then the CPU.
        speed: "default"; "fast": bfloat16 weights where the processor has them; "fastest": int8 on a CPU; or "exact":
            float32 and full decoding, pixels those of the reference implementation to one 8-bit level (rounding).
        batch_size: pictures in one step; None: 32.
        progress: show a bar; None: when it takes over two seconds and someone is watching.

    Returns:
        A `Classification` for one source, a list for a sequence, an iterator for an iterator (read lazily, at most two
        batches ahead).

    Raises:
        InputError: labels for a fixed head, labels that repeat, no labels where they are needed, an argument that does
            not go with the model; a bad source, under `on_error="raise"`.
        CapabilityError: the model cannot classify.
        ModelError: the model cannot be loaded.
        ProviderError: a hosted model gave no answer.
    """
    names = None if labels is None else check_labels(labels)
    limit: object = abstain_below
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, (int, float))):
        raise InputError(f"abstain_below={limit!r} must be a number")
    chosen = model if model is not None else DEFAULT_MODEL if names is None else DEFAULT_ZERO_SHOT_MODEL
    loaded = resolve(chosen, "classify", device=device, speed=speed)
    run = _runner(loaded, names, prompts, multi_label=multi_label, abstain_below=abstain_below, batch_size=batch_size)
    return answer(images, run, on_error=on_error, progress=progress)


def _runner(
    model: Any,
    labels: tuple[str, ...] | None,
    prompts: Sequence[str] | None,
    *,
    multi_label: bool,
    abstain_below: float | None,
    batch_size: int | None,
) -> Runner[Source, Classification]:
    """Chooses how: by a class head, by comparing with texts, or by asking."""
    if prompts is not None and not isinstance(model, TextEmbedder):
        raise InputError(f"prompts= goes with an image–text model, which {model.name} is not")
    if isinstance(model, ImageEmbedder) and isinstance(model, TextEmbedder):
        from .zero_shot import zero_shot_runner

        return zero_shot_runner(model, _needed(labels, model), prompts, multi_label, abstain_below, batch_size)
    if isinstance(model, Describer):
        from .choose import choice_runner

        if multi_label:
            raise InputError(f"multi_label=True does not go with {model.name}, which names one label")
        return choice_runner(model, _needed(labels, model), abstain_below)
    if not isinstance(model, Classifier):
        raise CapabilityError(f"{getattr(model, 'name', type(model).__name__)} cannot classify")
    if labels is not None:
        raise InputError(
            f"{model.name} has a fixed head of {len(model.labels)} labels; to choose among labels of your own, ask an "
            f"image–text model: vk.classify(images, {list(labels)[:2]!r}, model={DEFAULT_ZERO_SHOT_MODEL!r})"
        )
    return _head_runner(model, multi_label, abstain_below, batch_size)


def _needed(labels: tuple[str, ...] | None, model: Any) -> tuple[str, ...]:
    if labels is None:
        raise InputError(f"{model.name} has no classes of its own: give labels, vk.classify(images, ['cat', 'dog'], …)")
    return labels


def _head_runner(
    model: Classifier, multi_label: bool, abstain_below: float | None, batch_size: int | None
) -> Runner[Source, Classification]:
    several = multi_label or bool(getattr(model, "multi_label", False))  # a plug-in's classifier need not say so

    def answer_batch(batch: Batch) -> list[Classification | Failure]:
        logits = model.class_logits(batch)
        probabilities = (logits.sigmoid() if several else logits.softmax(1)).cpu().tolist()
        return [
            ranked(dict(zip(model.labels, row, strict=True)), batch, i, model=model.name, abstain_below=abstain_below)
            for i, row in enumerate(probabilities)
        ]

    return over_batches(model, answer_batch, batch_size)
