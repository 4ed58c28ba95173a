"""What an exported file says of itself beside its network, and the model that it is when it is loaded."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor

from ..errors import InputError, ModelLoadError
from ..pipeline import Batch, Preprocess
from .folder import MAX_SETTINGS_BYTES, as_json, is_temperature, parse_json, sealed
from .labels import check_labels

RECORD: Final = "visionkit"
"""The key of our record among an ONNX file's metadata, and, with ".json", its file in torch's."""

_FORMAT_VERSION: Final = 1
_MAX_RECORD_BYTES: Final = 8 * MAX_SETTINGS_BYTES

_EMBEDS: Final = (["features"],)
_CLASSIFIES: Final = (["logits"], ["logits", "features"], ["features", "logits"])
"""What a network may give that has no labels, and one that has."""

Run = Callable[[Tensor], dict[str, Tensor]]
"""Pixels (N, 3, H, W), float32 on the CPU → "logits" (N, K), "features" (N, D), or both."""


@dataclass(frozen=True)
class Record:
    """All that is needed to use an exported network rightly.

    Attributes:
        name: of the model that was exported.
        preprocess: how it wants its pictures.
        labels: (K,) of a classifier; None without logits.
        temperature: what the logits are divided by.
        multi_label: whether several labels may be true at once.
        outputs: what the network gives, of "logits" and "features".
        answers: safetensors bytes: what the model said of a few pictures; see `answers_of`.
        max_difference: of the exported file's answers from them; None while it is being proven.
    """

    name: str
    preprocess: Preprocess
    labels: tuple[str, ...] | None
    temperature: float
    multi_label: bool
    outputs: tuple[str, ...]
    answers: bytes
    max_difference: float | None = None

    def to_json(self) -> str:
        """As it stands in the file, with its seal."""
        fields = asdict(self) | {
            "format_version": _FORMAT_VERSION,
            "preprocess": self.preprocess.to_dict(),
            "answers": base64.b64encode(self.answers).decode(),
        }
        return as_json(sealed(fields)).decode()

    @classmethod
    def from_json(cls, text: str, where: object) -> Record:
        """The inverse of `to_json`.

        Raises:
            ModelLoadError: it is malformed, was changed, or is of a later format.
        """
        if len(text) > _MAX_RECORD_BYTES:
            raise ModelLoadError(f"{where}: its record is larger than any that visionkit writes")
        fields = parse_json(text, f"the record in {where}")
        if not isinstance(fields, dict) or not isinstance(fields.get("format_version"), int):
            raise ModelLoadError(f"{where}: its record is none of visionkit's")
        if fields["format_version"] > _FORMAT_VERSION:
            raise ModelLoadError(f"{where} has format {fields['format_version']}: upgrade visionkit")
        if sealed(fields)["settings_sha256"] != fields.get("settings_sha256"):
            raise ModelLoadError(f"{where}: its labels, preprocessing or another setting were changed after the export")
        try:
            labels = fields["labels"]
            return cls(
                name=str(fields["name"]),
                preprocess=Preprocess.from_dict(fields["preprocess"]),
                labels=None if labels is None else check_labels(labels),
                temperature=_temperature(fields["temperature"]),
                multi_label=bool(fields["multi_label"]),
                outputs=_outputs(fields["outputs"], classifies=labels is not None),
                answers=base64.b64decode(fields["answers"], validate=True),
                max_difference=fields["max_difference"],
            )
        except (KeyError, TypeError, ValueError, InputError, binascii.Error) as err:
            raise ModelLoadError(f"{where}: its record is malformed: {err}") from err


def _outputs(value: Any, *, classifies: bool) -> tuple[str, ...]:
    if value not in (_CLASSIFIES if classifies else _EMBEDS):
        raise ValueError(f"outputs {value!r:.80} {'with' if classifies else 'without'} labels")
    return tuple(map(str, value))


def _temperature(value: Any) -> float:
    if not is_temperature(value):
        raise ValueError(f"the temperature {value!r:.80} is none")
    return float(value)


class ExportedModel:
    """An exported network with its preprocessing; a classifier, an embedder, or both, by its subclass.

    Attributes:
        name: what results call it.
        preprocess: how it wants its pictures.
        device: the CPU.
        speed: kept for `Batches`; the network runs in float32 at every speed.
    """

    def __init__(self, run: Run, *, name: str, preprocess: Preprocess, speed: str) -> None:
        self.name = name
        self.preprocess = preprocess
        self.device = torch.device("cpu")
        self.speed = speed
        self._run = run

    def _output(self, batch: Batch, name: str) -> Tensor:
        with torch.inference_mode():
            value = self._run(batch.pixels.float().cpu())[name].float()
        if value.ndim != 2 or len(value) != len(batch):
            raise ModelLoadError(
                f"{self.name} gives {tuple(value.shape)} as {name} for {len(batch)} pictures, not (N, D)"
            )
        return value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.preprocess.size_wh})"


class ExportedClassifier(ExportedModel):
    """Satisfies `Classifier`.

    Attributes:
        labels: (K,) names.
        temperature: what the logits are divided by.
        multi_label: whether several labels may be true at once.
    """

    def __init__(
        self, run: Run, *, labels: Sequence[str], temperature: float = 1.0, multi_label: bool = False, **settings: Any
    ) -> None:
        super().__init__(run, **settings)
        self.labels = check_labels(labels)
        self.temperature = temperature
        self.multi_label = multi_label

    def class_logits(self, batch: Batch) -> Tensor:
        """The network's logits over the temperature, float32 (N, K).

        Raises:
            ModelLoadError: there is not one for each label.
        """
        logits = self._output(batch, "logits")
        if logits.shape[1] != len(self.labels):
            raise ModelLoadError(f"{self.name} gives {logits.shape[1]} logits, but there are {len(self.labels)} labels")
        return logits / self.temperature


class ExportedEmbedder(ExportedModel):
    """Satisfies `ImageEmbedder`."""

    def image_features(self, batch: Batch) -> Tensor:
        """Float32 (N, D)."""
        return self._output(batch, "features")


class ExportedClassifierAndEmbedder(ExportedClassifier, ExportedEmbedder):
    """Satisfies `Classifier` and `ImageEmbedder`."""


def exported_model(run: Run, record: Record, *, name: str, speed: str) -> ExportedModel:
    """The model of a network and its record."""
    settings: dict[str, Any] = {"name": name, "preprocess": record.preprocess, "speed": speed}
    if record.labels is None:
        return ExportedEmbedder(run, **settings)
    kind = ExportedClassifierAndEmbedder if "features" in record.outputs else ExportedClassifier
    return kind(run, labels=record.labels, temperature=record.temperature, multi_label=record.multi_label, **settings)
