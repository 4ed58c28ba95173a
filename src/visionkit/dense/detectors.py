"""`transformers:` names that detect: any model of transformers' table of object detectors, from a folder or the hub."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import CapabilityError, ModelLoadError
from ..extras import require
from ..models.catalog import CATALOG
from ..models.configs import read_config
from ..models.forms import inference
from ..models.pretrained import check_complete, check_ids, check_weights, from_folder, unique_labels
from ..models.protocols import Boxes
from ..models.snapshots import model_folder, whole_weights
from ..pipeline import Batch, choose_device, compute_dtype
from .processors import prove, read_preprocess

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..pipeline import Preprocess

_CONFIGS: Final = ("config.json", "preprocessor_config.json")
_PATTERNS: Final = (*_CONFIGS, "*.safetensors", "*.safetensors.index.json")


class TransformersDetector:
    """A detector of transformers; satisfies `Detector` and `HasModule`.

    Attributes:
        name: what results call it.
        module: transformers' model, in evaluation mode, on `device`, in float32 at every speed: a corner in half
            precision is off by more than a pixel.
        preprocess: how it wants its pictures.
        device: where it runs.
        speed: "exact" decodes in full; the network runs in float32 at every speed.
        labels: the names it knows, in the order of the configuration's ids.
    """

    def __init__(
        self,
        module: nn.Module,
        processor: Any,
        *,
        name: str,
        labels: tuple[str, ...],
        preprocess: Preprocess,
        device: torch.device,
        speed: str,
    ) -> None:
        self.name = name
        self.module = module.to(device).float().eval()
        self.labels = labels
        self.preprocess = preprocess
        self.device = device
        self.speed = speed
        self._processor = processor

    def detect_boxes(self, batch: Batch, *, threshold: float) -> list[Boxes]:
        """What the model's own post-processing keeps: boxes in input pixels with a score above `threshold`, best first.

        One place may be named twice, by two labels: the detectors of this family choose among pairs of query and label.
        """
        with inference(self.device, self.speed):
            outputs = self.module(pixel_values=batch.pixels.float())
            width, height = self.preprocess.size_wh
            found = self._processor.post_process_object_detection(
                outputs, threshold=threshold, target_sizes=[(height, width)] * len(batch)
            )
        return [self._boxes(**one) for one in found]

    def _boxes(self, scores: torch.Tensor, labels: torch.Tensor, boxes: torch.Tensor, **_: object) -> Boxes:
        order = scores.argsort(descending=True, stable=True)
        return Boxes(
            boxes[order].cpu().numpy(),
            tuple(self.labels[i] for i in labels[order].tolist()),
            tuple(scores[order].tolist()),
        )

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.module.parameters())
        return f"TransformersDetector({self.name!r}, {count:,} parameters, {self.device}, {self.preprocess.size_wh})"


def load(
    name: str, *, device: str | torch.device | None, speed: str, revision: str | None = None
) -> TransformersDetector:
    """Loads a detector with its labels and preprocessing, from safetensors, and never with code of its own.

    Args:
        name: a folder in the hub's layout (`config.json`, `preprocessor_config.json`, `model.safetensors`), or a
            repository of the hub, as `owner/name`.
        device: see `choose_device`.
        speed: "exact" decodes in full; the network runs in float32 at every speed.
        revision: a branch, tag or commit of the repository.

    Raises:
        MissingExtraError: transformers is not installed.
        ModelNotFoundError: no such folder or repository, or it cannot or must not be fetched.
        CapabilityError: it is no object detector of fixed classes.
        ModelLoadError: files are missing or damaged, the configuration switches on code, or the preprocessing is of a
            kind that visionkit does not do.
    """
    transformers = require("transformers")
    chosen = choose_device(device)
    compute_dtype(chosen, speed)  # refuses a speed that is none before anything is fetched
    full_name = f"transformers:{name}{f'@{revision}' if revision else ''}"
    megabytes = next((e.megabytes for e in CATALOG if e.name == f"transformers:{name}"), None)
    folder = model_folder(
        name, prefix="transformers", revision=revision, patterns=_PATTERNS, whole=_is_whole, megabytes=megabytes
    )
    _check_folder(folder, full_name)
    processor = from_folder(transformers, "AutoImageProcessor", folder, full_name)
    if not hasattr(processor, "post_process_object_detection"):
        raise ModelLoadError(f"{full_name}: its image processor, {type(processor).__name__}, is no detector's")
    preprocess = read_preprocess(processor, full_name)
    prove(processor, preprocess, full_name)
    module, loading = from_folder(
        transformers,
        "AutoModelForObjectDetection",
        folder,
        full_name,
        use_safetensors=True,
        dtype="float32",
        output_loading_info=True,
    )
    check_complete(loading, full_name)
    _check_scores(module.config, processor, full_name)
    check_ids(module.config.id2label, full_name)
    return TransformersDetector(
        module,
        processor,
        name=full_name,
        labels=unique_labels(module.config.id2label),
        preprocess=preprocess,
        device=chosen,
        speed=speed,
    )


def _is_whole(folder: Path) -> bool:
    return all((folder / file).exists() for file in _CONFIGS) and whole_weights(folder)


def _check_folder(folder: Path, name: str) -> None:
    """Reads the configurations before transformers does, and refuses what is no detector or would run code."""
    kind = read_config(folder / "config.json", name).get("model_type")
    known = require("transformers.models.auto.modeling_auto").MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES
    if not isinstance(kind, str) or kind not in known:
        raise CapabilityError(
            f"{name} cannot detect: its model_type is {kind!r}, and the object detectors of fixed classes are "
            f"{', '.join(sorted(known))}"
        )
    read_config(folder / "preprocessor_config.json", name)
    check_weights(folder, name)


def _check_scores(config: Any, processor: Any, name: str) -> None:
    """Refuses the one way of scoring that transformers does wrongly."""
    takes = signature(processor.post_process_object_detection).parameters
    if "use_focal_loss" in takes and not getattr(config, "use_focal_loss", True):
        raise ModelLoadError(
            f"{name}: its configuration says use_focal_loss=False, for which transformers' scores are wrong: the "
            f"softmax runs over the pictures of the batch (huggingface/transformers#32578)"
        )
