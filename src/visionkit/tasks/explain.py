"""`explain`: where in a picture does a model's answer come from?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, overload

from ..errors import CapabilityError, Failure
from ..images import Source
from ..models.protocols import Classifier
from ..results import Heatmap
from .driver import Many, OnError, answer
from .local import over_batches
from .resolve import resolve

if TYPE_CHECKING:
    import torch

    from ..pipeline import Batch, Preprocess

DEFAULT_MODEL: Final = "visionkit:efficientnet_lite0"
DEFAULT_BATCH_SIZE: Final = 8
"""Gradients keep what every layer gave, so a batch takes many times the memory of an answer."""

Method: TypeAlias = Literal["grad_cam", "integrated_gradients", "occlusion"]


@dataclass
class _Plain:
    """How the pictures of an explanation are loaded: in full, as float32, whatever the model's own speed."""

    name: str
    preprocess: Preprocess
    device: torch.device
    speed: str = "exact"


@overload  # an open file is one source, though Python calls it an iterator
def explain(  # type: ignore[overload-overlap]
    image: Source,
    *,
    model: object = DEFAULT_MODEL,
    label: str | None = None,
    method: Method = "grad_cam",
    layer: str | None = None,
    measured: bool = True,
    on_error: Literal["raise"] = "raise",
    device: str | torch.device | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Heatmap: ...


@overload
def explain(
    image: Many[Source],
    *,
    model: object = DEFAULT_MODEL,
    label: str | None = None,
    method: Method = "grad_cam",
    layer: str | None = None,
    measured: bool = True,
    on_error: Literal["raise"] = "raise",
    device: str | torch.device | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> list[Heatmap]: ...


@overload
def explain(
    image: Iterator[Source],
    *,
    model: object = DEFAULT_MODEL,
    label: str | None = None,
    method: Method = "grad_cam",
    layer: str | None = None,
    measured: bool = True,
    on_error: Literal["raise"] = "raise",
    device: str | torch.device | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Iterator[Heatmap]: ...


@overload  # an open file is one source, though Python calls it an iterator
def explain(  # type: ignore[overload-overlap]
    image: Source,
    *,
    model: object = DEFAULT_MODEL,
    label: str | None = None,
    method: Method = "grad_cam",
    layer: str | None = None,
    measured: bool = True,
    on_error: Literal["return"],
    device: str | torch.device | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Heatmap | Failure: ...


@overload
def explain(
    image: Many[Source],
    *,
    model: object = DEFAULT_MODEL,
    label: str | None = None,
    method: Method = "grad_cam",
    layer: str | None = None,
    measured: bool = True,
    on_error: Literal["return"],
    device: str | torch.device | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> list[Heatmap | Failure]: ...


@overload
def explain(
    image: Iterator[Source],
    *,
    model: object = DEFAULT_MODEL,
    label: str | None = None,
    method: Method = "grad_cam",
    layer: str | None = None,
    measured: bool = True,
    on_error: Literal["return"],
    device: str | torch.device | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Iterator[Heatmap | Failure]: ...


def explain(
    image: Any,
    *,
    model: object = DEFAULT_MODEL,
    label: str | None = None,
    method: Method = "grad_cam",
    layer: str | None = None,
    measured: bool = True,
    on_error: OnError = "raise",
    device: str | torch.device | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Any:
    """Shows where in a picture a classifier's answer comes from, as a heat map, and how far that can be believed.

    Works for convolutional networks and vision transformers: networks of ours, torchvision's and timm's, modules of
    your own (`wrap_model`), saved folders, and heads over any of these or over CLIP. It is the plain network in float32
    that is looked into, whatever the model's `speed`.

    Args:
        image: one source, a sequence of them, or an iterator; see `load_image`.
        model: a name, a saved folder, or a model object with a class head.
        label: the answer to explain, one of the model's labels; None: its own best for each picture.
        method: "grad_cam" weighs the maps of one layer by their gradients: fast, coarse, for most purposes the one to
            take. "integrated_gradients" sums the gradients of every pixel on the way from a blurred picture to the
            sharp one: fine and noisy. "occlusion" blurs one part after another and measures what is lost: slow, and
            asks the model nothing but answers. The last two need captum (the extra `explain`).
        layer: for "grad_cam", the layer to look at, by its path in the module; None: the last whose maps the answer
            hangs on.
        measured: measure `.faithfulness`, which costs 26 more answers for each picture.
        on_error: "raise" stops at the first bad input, with an error that carries the answers before it in
            `.results`; "return" puts a `Failure` in its place.
        device: where to run; None chooses CUDA, then MPS, then the CPU.
        batch_size: pictures in one step; None: 8.
        progress: show a bar; None: when it takes over two seconds and someone is watching.

    Returns:
        A `Heatmap` for one source, a list for a sequence, an iterator for an iterator (read lazily, at most two
        batches ahead).

    Raises:
        InputError: a label or layer that the model lacks (the nearest names are in the message), a layer that the
            answer does not hang on, another method, an argument that does not go with the model; a bad source, under
            `on_error="raise"`.
        CapabilityError: the model is no classifier, or has no layers to look into.
        ModelError: the model cannot be loaded, has no layer for Grad-CAM, or lets no gradients through; an answer that
            is no number, under `on_error="raise"`.
        MissingExtraError: captum is not installed, and `method` needs it.
    """
    loaded = resolve(model, "classify", default=DEFAULT_MODEL, device=device)
    if not isinstance(loaded, Classifier):
        raise CapabilityError(f"{getattr(loaded, 'name', type(loaded).__name__)} has no class head to explain")
    from ..cnn.explain import Explainer

    explainer = Explainer(loaded, method=method, layer=layer, measured=measured)
    explainer.check(label)

    def answer_batch(batch: Batch) -> list[Heatmap | Failure]:
        return explainer.explain(batch, label)

    plain = _Plain(loaded.name, loaded.preprocess, loaded.device)
    run = over_batches(plain, answer_batch, DEFAULT_BATCH_SIZE if batch_size is None else batch_size)
    return answer(image, run, on_error=on_error, progress=progress)
