"""Fakes that satisfy the capability protocols, for the tests of packages that use visionkit.

They answer at once and always alike, without weights: a test of your own code needs no real model.

    model = FakeClassifier(["cat", "dog"], answer="dog")
    assert vk.classify(picture, model=model).label == "dog"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .images import load_image
from .models.labels import check_labels
from .models.protocols import Description

if TYPE_CHECKING:
    import torch
    from pydantic import BaseModel
    from torch import Tensor

    from .images import Picture
    from .pipeline import Batch, Preprocess


class FakeClassifier:
    """A `Classifier` and `ImageEmbedder` that always gives one label.

    Args:
        labels: the names it knows.
        answer: the label it gives, by default the first.
        name: what results call it.

    Raises:
        InputError: labels that repeat or are empty, or an answer that is none of them.
    """

    def __init__(self, labels: Sequence[str], *, answer: str | None = None, name: str = "fake:classifier") -> None:
        import torch

        from .errors import InputError
        from .pipeline import Preprocess

        self.labels = check_labels(labels)
        if answer is not None and answer not in self.labels:
            raise InputError(f"answer {answer!r} is none of the labels")
        self.name = name
        self.preprocess: Preprocess = Preprocess(size_wh=(8, 8), resize="squash")
        self.device: torch.device = torch.device("cpu")
        self.speed = "default"
        self._position = self.labels.index(answer) if answer is not None else 0

    def class_logits(self, batch: Batch) -> Tensor:
        """Float32 (N, K): a probability of nearly 1 for the answer."""
        import torch

        logits = torch.zeros((len(batch), len(self.labels)))
        logits[:, self._position] = 20.0
        return logits

    def image_features(self, batch: Batch) -> Tensor:
        """Float32 (N, 4): the mean colour, and a constant so that black has a direction too."""
        import torch

        means = batch.pixels.float().mean((2, 3))
        return torch.cat([means, torch.ones((len(batch), 1))], dim=1)


class FakeDescriber:
    """A `Describer` that always says the same.

    Args:
        text: its answer to a plain question.
        parsed: its answers where a schema is given: an object of one of these types is returned for its own schema;
            a schema of labels gets the first of them.
        name: what results call it.
    """

    box_convention: Literal["pixels", "0-1000"] = "pixels"
    concurrency = 1

    def __init__(
        self, text: str = "a picture", *, parsed: BaseModel | None = None, name: str = "fake:describer"
    ) -> None:
        self.name = name
        self._text = text
        self._parsed = parsed

    def describe(
        self,
        pictures: Sequence[Picture],
        prompt: str,
        *,
        system: str | None = None,
        schema: type[BaseModel] | None = None,
        max_tokens: int | None = None,
    ) -> Description:
        """The answer it was made with; for another schema than its object's, the first value that each field allows.

        Raises:
            AnswerError: the schema has a field for which no value can be guessed.
        """
        from .errors import AnswerError

        parsed: BaseModel | None = None
        if schema is not None:
            parsed = self._parsed if isinstance(self._parsed, schema) else _first_values(schema)
            if parsed is None:
                raise AnswerError(f"FakeDescriber cannot make a {schema.__name__}: give it one, parsed=")
        usage = {"input_tokens": 0, "output_tokens": 0}
        text = parsed.model_dump_json() if parsed is not None else self._text
        return Description(text=text, parsed=parsed, finish_reason="stop", refused=False, usage=usage)


class FakeGenerator:
    """An `ImageGenerator` whose pictures are one colour, chosen by the seed."""

    def __init__(self, name: str = "fake:generator") -> None:
        self.name = name

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
        """A picture of `size_wh`, 64×64 by default, and the settings."""
        size = size_wh or (64, 64)
        colour = (seed * 37 % 256, seed * 59 % 256, seed * 83 % 256)
        settings = {
            "negative_prompt": negative_prompt,
            "steps": steps or 1,
            "guidance_scale": guidance_scale if guidance_scale is not None else 1.0,
            "size_wh": size,
            "seed": seed,
        }
        return load_image(np.full((size[1], size[0], 3), colour, np.uint8)), settings


def _first_values(schema: type[BaseModel]) -> BaseModel | None:
    """An object of the schema with False, or the first of the values that a field lists."""
    values: dict[str, object] = {}
    for name, field in schema.model_json_schema().get("properties", {}).items():
        if "enum" in field or "const" in field:
            values[name] = field.get("const", field.get("enum", [None])[0])
        elif field.get("type") == "boolean":
            values[name] = False
        else:
            return None
    return schema.model_validate(values)
