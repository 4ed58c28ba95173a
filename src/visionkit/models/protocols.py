"""What a model can do: small protocols. An object that has the attributes and methods of one is a model for its verbs.

The names here are frozen: packages outside visionkit implement them. See the page "Add a model". A local model works on
`Batch`es of the pipeline, a hosted one on pictures; neither reads a source, maps a box, or makes a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from pydantic import BaseModel
    from torch import Tensor, nn

    from ..images import Picture
    from ..pipeline import Batch, Preprocess


@runtime_checkable
class Model(Protocol):
    """Any model.

    Attributes:
        name: what results call it: the name it was loaded by.
    """

    name: str


@runtime_checkable
class LocalModel(Protocol):
    """A model that runs on this machine, on batches of the pipeline.

    Attributes:
        name: what results call it.
        preprocess: how it wants its pictures.
        device: where it runs, and its batches go.
        speed: "default", "exact", "fast" or "fastest"; its batches are loaded so.
    """

    name: str
    preprocess: Preprocess
    device: torch.device
    speed: str


@runtime_checkable
class Classifier(LocalModel, Protocol):
    """A model with a fixed class head.

    Attributes:
        labels: (K,) unique names, in the order of the logits.
    """

    labels: tuple[str, ...]

    def class_logits(self, batch: Batch) -> Tensor:
        """Float32 (N, K): the verb makes probabilities, by softmax, or by sigmoid for `multi_label=True`."""


@runtime_checkable
class ImageEmbedder(LocalModel, Protocol):
    """A model that turns pictures into vectors."""

    def image_features(self, batch: Batch) -> Tensor:
        """Float32 (N, D), of any length: the verb normalises."""


@runtime_checkable
class TextEmbedder(Protocol):
    """A model that turns texts into vectors of the same space as its pictures.

    Attributes:
        name: what results call it.
        logit_scale: what a cosine is multiplied by to become a logit.
        logit_bias: what is then added.
        score_activation: how the logits of several texts become probabilities.
        prompts: templates with `{}` for a label, averaged for zero-shot labels.
    """

    name: str
    logit_scale: float
    logit_bias: float
    score_activation: Literal["softmax", "sigmoid"]
    prompts: tuple[str, ...]

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Float32 (N, D), of any length: the verb normalises."""


@dataclass(frozen=True)
class Boxes:
    """What a detector found in one picture.

    Attributes:
        boxes_xyxy: float (N, 4), in pixels of the model's *input*: the verb maps them to the image and clips.
        labels: (N,) names.
        scores: (N,) in 0–1.
    """

    boxes_xyxy: Any
    labels: tuple[str, ...]
    scores: tuple[float, ...]


@runtime_checkable
class Detector(LocalModel, Protocol):
    """A model that finds objects of fixed classes.

    Attributes:
        labels: the names it knows.
    """

    labels: tuple[str, ...]

    def detect_boxes(self, batch: Batch, *, threshold: float) -> list[Boxes]:
        """For each picture of the batch, the boxes with a score above `threshold`, best first."""


@dataclass(frozen=True)
class Description:
    """A hosted model's answer, before it becomes an `Answer`.

    Attributes:
        text: what it said.
        parsed: the object, when a schema was given.
        finish_reason: "stop", "length", "refused" or the vendor's own word.
        refused: the model declined.
        usage: tokens by kind: `input_tokens`, `output_tokens`, and whatever else the vendor counts.
        fits: how each picture was laid into what was uploaded.
    """

    text: str
    parsed: BaseModel | None
    finish_reason: str
    refused: bool
    usage: dict[str, int]
    fits: tuple[Any, ...] = ()


@runtime_checkable
class Describer(Protocol):
    """A model that answers questions about pictures; usually a hosted one.

    Attributes:
        name: what results call it.
        box_convention: how it says boxes: "pixels" of the upload, or "0-1000".
        concurrency: how many questions may be under way at once.
    """

    name: str
    box_convention: Literal["pixels", "0-1000"]
    concurrency: int

    def describe(
        self,
        pictures: Sequence[Picture],
        prompt: str,
        *,
        system: str | None = None,
        schema: type[BaseModel] | None = None,
        max_tokens: int | None = None,
    ) -> Description:
        """Answers one prompt about one or several upright RGB pictures.

        Raises:
            ProviderError: no answer came, or one that does not fit the schema.
        """


@runtime_checkable
class ImageGenerator(Protocol):
    """A model that makes pictures.

    It may also have `check_settings(*, negative_prompt, steps, guidance_scale, size_wh)`, with the types of
    `generate_image`: it is called once, before any picture is made or prompt is read, and raises an `InputError` for an
    option that this model lacks or a size that it cannot take.

    Attributes:
        name: what results call it.
    """

    name: str

    def generate_image(
        self,
        prompt: str,
        *,
        negative_prompt: str | None,
        steps: int | None,
        guidance_scale: float | None,
        size_wh: tuple[int, int] | None,
        seed: int,
    ) -> tuple[Picture, dict[str, Any]]:
        """One picture, the same for the same arguments, and the settings used in full: the defaults filled in.

        Raises:
            InputError: an option that this model lacks.
        """


@runtime_checkable
class HasModule(Protocol):
    """A model with a torch module to look into, fine-tune or save.

    Attributes:
        module: holds all its weights.
    """

    module: nn.Module


@runtime_checkable
class Savable(HasModule, Protocol):
    """A model that a folder can hold; see `save_model`.

    Attributes:
        preprocess: how it wants its pictures.
    """

    preprocess: Preprocess

    def architecture(self) -> dict[str, Any]:
        """How to build it again, without its weights: `{"model": a registered name, "options": JSON values}`."""
