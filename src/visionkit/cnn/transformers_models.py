"""`transformers:` names that classify or embed: any image classifier or backbone of transformers' own tables."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from ..errors import CapabilityError, InputError, ModelLoadError
from ..extras import require
from ..models.configs import read_config, refuse_code
from ..models.forms import inference
from ..models.pretrained import check_complete, check_ids, check_weights, from_folder, unique_labels
from ..models.processors import difference, read_numbers
from ..models.snapshots import model_folder, whole_weights
from ..models.wrap import OUTPUT, ModuleClassifier, ModuleEmbedder
from ..pipeline import Preprocess, choose_device, compute_dtype

if TYPE_CHECKING:
    from ..pipeline.preprocess import Corner

_CONFIGS: Final = ("config.json", "preprocessor_config.json")
_PATTERNS: Final = (*_CONFIGS, "*.safetensors", "*.safetensors.index.json")
_CORNERS: Final[tuple[Corner, ...]] = ("floored", "rounded")
_NOT_KEPT: Final = ("_name_or_path", "dtype", "torch_dtype", "transformers_version")
"""What a configuration says of where it came from, which is no part of an architecture."""


class ImageNetwork(nn.Module):
    """A model of transformers as a plain module: pixels in, one tensor out.

    With a head it gives logits (N, K). Without, features (N, D): what the model pools itself, else its class token,
    else the mean over all places.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """Float (N, 3, H, W), normalised → logits (N, K) or features (N, D)."""
        outputs = self.network(pixel_values=pixels)
        logits: Tensor | None = getattr(outputs, "logits", None)
        if logits is not None:
            return logits
        pooled: Tensor | None = getattr(outputs, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        hidden: Tensor = outputs.last_hidden_state
        if hidden.ndim == 4:
            return hidden.mean((2, 3))
        has_class_token = any(name.rpartition(".")[2] == "cls_token" for name, _ in self.network.named_parameters())
        return hidden[:, 0] if has_class_token else hidden.mean(1)


def load(
    name: str,
    *,
    device: str | torch.device | None,
    speed: str,
    revision: str | None = None,
    pretrained: bool = True,
    num_classes: int | None = None,
    config: dict[str, Any] | None = None,
    preprocess: dict[str, Any] | None = None,
) -> ModuleClassifier | ModuleEmbedder:
    """Loads an image classifier, or a backbone that embeds, from safetensors, and never with code of its own.

    The class is the one that transformers' tables have for the configuration; it classifies when the configuration
    names an architecture "…ForImageClassification". Features are what enters the head.

    Args:
        name: a folder in the hub's layout (`config.json`, `preprocessor_config.json`, `model.safetensors`), or a
            repository of the hub, as `owner/name`.
        device: see `choose_device`.
        speed: see `load_model`.
        revision: a branch, tag or commit of the repository.
        pretrained: False: random weights.
        num_classes: of random weights.
        config: builds a network of this configuration, with random weights, whatever the name.
        preprocess: goes with `config`.

    Raises:
        MissingExtraError: transformers is not installed.
        ModelNotFoundError: no such folder or repository, or it cannot or must not be fetched.
        CapabilityError: it takes more than pictures, or is of a kind that neither classifies nor embeds them.
        ModelLoadError: files are missing or damaged, the configuration switches on code, or the preprocessing is of a
            kind that visionkit does not do.
        InputError: `num_classes` with trained weights; `config` without `preprocess`.
    """
    transformers = require("transformers")
    chosen = choose_device(device)
    compute_dtype(chosen, speed)  # refuses a speed that is none before anything is fetched
    full_name = f"transformers:{name}{f'@{revision}' if revision else ''}"
    if num_classes is not None and pretrained:
        raise InputError("num_classes= goes with pretrained=False; for classes of your own use vk.fine_tune")
    if config is not None:
        if preprocess is None:
            raise InputError(f"{full_name}: config= goes with preprocess=")
        refuse_code(config, full_name)
        network, wants = _random(transformers, dict(config), None, full_name), Preprocess.from_dict(preprocess)
    else:
        folder = model_folder(name, prefix="transformers", revision=revision, patterns=_PATTERNS, whole=_is_whole)
        fields = read_config(folder / _CONFIGS[0], full_name)
        read_config(folder / _CONFIGS[1], full_name)
        processor = from_folder(transformers, "AutoImageProcessor", folder, full_name)
        wants = read_preprocess(processor, full_name)
        if pretrained:
            network = _trained(transformers, fields, folder, full_name)
        else:
            network = _random(transformers, fields, num_classes, full_name)
        _check_runs(network, wants, full_name)
    own: Any = network.config
    kept = {k: v for k, v in json.loads(own.to_json_string(use_diff=False)).items() if k not in _NOT_KEPT}
    settings: dict[str, Any] = {
        "name": full_name,
        "preprocess": wants,
        "device": chosen,
        "speed": speed,
        "built_by": {
            "model": f"transformers:{own.model_type}",
            "options": {"pretrained": False, "config": kept, "preprocess": wants.to_dict()},
        },
    }
    if not _classifies(kept):
        return ModuleEmbedder(ImageNetwork(network), features=OUTPUT, **settings)
    check_ids(own.id2label, full_name)
    return ModuleClassifier(ImageNetwork(network), labels=unique_labels(own.id2label), features=None, **settings)


def read_preprocess(processor: Any, name: str) -> Preprocess:
    """The preprocessing that makes of pictures of noise what the processor makes of them.

    Settings do not tell all: classes of transformers read the same words in several ways. So each way is tried.

    Raises:
        ModelLoadError: none does.
    """
    reason = f"its settings are size {_filled(processor.size)}, crop_size {_filled(_crop(processor))}"
    if processor.do_resize:
        numbers = read_numbers(processor, name)
        for fields in _readings(processor):
            preprocess = Preprocess(**fields, **numbers)
            found = difference(processor, preprocess, _sizes_wh(preprocess))
            if found is None:
                return preprocess
            reason = found
    raise ModelLoadError(
        f"{name}: its image processor, {type(processor).__name__}, makes pixels that visionkit's Preprocess does not "
        f"({reason}); one size without crop, or the short side and a centre crop of it, work"
    )


def _readings(processor: Any) -> Iterator[dict[str, Any]]:
    """The ways in which a processor's settings may be meant, as arguments of `Preprocess`."""
    size, crop = _filled(processor.size), _filled(_crop(processor))
    height, width, short = size.get("height"), size.get("width"), size.get("shortest_edge")
    share = getattr(processor, "crop_pct", None)
    crop_wh = (crop["width"], crop["height"]) if {"width", "height"} <= crop.keys() else None
    if height and width:
        yield {"size_wh": (width, height), "resize": "squash"}
    if not short:
        return
    for corner in _CORNERS:
        if crop_wh:
            yield {"size_wh": crop_wh, "resize_to": short, "corner": corner}
            yield {"size_wh": crop_wh, "resize_to": int(256 / 224 * short), "corner": corner}  # LeViT
        if share:
            yield {"size_wh": crop_wh or (short, short), "resize_to": int(short / share), "corner": corner}
    if share:  # ConvNeXt at 384 and above
        yield {"size_wh": (short, short), "resize": "squash"}


def _sizes_wh(preprocess: Preprocess) -> list[tuple[int, int]]:
    """Pictures that tell ways of preprocessing apart: shrunk, enlarged, and cropped by half a pixel more."""
    width, height = preprocess.size_wh
    sizes = [(max(1, 2 * width // 3), 2 * height + 1)]
    if preprocess.resize == "shortest":
        side = preprocess.resize_to or min(width, height)
        # over by 3, 7, …: half of it is rounded up, where it is rounded
        sizes += [(side, height + 4 * side + 3), (width + 4 * side + 3, side), (2 * side + 9, 2 * side + 60)]
    return sizes


def _filled(size: Any) -> dict[str, int]:
    return {k: int(v) for k, v in dict(size or {}).items() if v}


def _crop(processor: Any) -> Any:
    return processor.crop_size if getattr(processor, "do_center_crop", False) else None


def _is_whole(folder: Path) -> bool:
    return all((folder / file).exists() for file in _CONFIGS) and whole_weights(folder)


def _classifies(config: dict[str, Any]) -> bool:
    return any("ForImageClassification" in str(a) for a in config.get("architectures") or ())


def _network_class(transformers: Any, config: dict[str, Any], name: str) -> tuple[str, Any]:
    """The auto class, and the class of the network, that transformers' tables have for a configuration.

    Raises:
        CapabilityError: none that takes pictures alone.
    """
    tables = transformers.models.auto.modeling_auto
    auto, table = (
        ("AutoModelForImageClassification", tables.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES)
        if _classifies(config)
        else ("AutoModel", tables.MODEL_MAPPING_NAMES)
    )
    kind = config.get("model_type")
    names = table.get(kind) if isinstance(kind, str) else None
    known = names if isinstance(names, str) else (names or ("",))[0]
    found = getattr(transformers, known, None) if known else None
    if getattr(found, "main_input_name", None) != "pixel_values":
        raise CapabilityError(
            f"{name} neither classifies nor embeds pictures: its model_type is {kind!r}, and {auto} of transformers "
            f"has no network of that kind which takes pictures alone"
        )
    return auto, found


def _trained(transformers: Any, config: dict[str, Any], folder: Path, name: str) -> nn.Module:
    """The network of a folder with its weights; without a pooling layer when the weights lack it."""
    auto, network_class = _network_class(transformers, config, name)
    check_weights(folder, name)
    options = {"use_safetensors": True, "dtype": "float32", "output_loading_info": True}
    network, loading = from_folder(transformers, auto, folder, name, **options)
    absent = [*loading["missing_keys"], *loading["mismatched_keys"]]
    if absent and all(str(key).startswith("pooler.") for key in absent) and _pooling_is_optional(network_class):
        network, loading = from_folder(transformers, auto, folder, name, add_pooling_layer=False, **options)
        network.config.visionkit_pooling = False
    check_complete(loading, name)
    trained: nn.Module = network
    return trained


def _random(transformers: Any, config: dict[str, Any], num_classes: int | None, name: str) -> nn.Module:
    auto, network_class = _network_class(transformers, config, name)
    fields = {k: v for k, v in config.items() if k != "model_type"}
    if num_classes is not None:
        fields |= {"id2label": {i: f"class {i}" for i in range(num_classes)}, "label2id": None}
    options = {"add_pooling_layer": False} if config.get("visionkit_pooling") is False else {}
    if options and not _pooling_is_optional(network_class):
        raise ModelLoadError(f"{name}: {network_class.__name__} has no pooling layer to leave out")
    try:
        own = transformers.AutoConfig.for_model(config["model_type"], **fields)
        network: nn.Module = getattr(transformers, auto).from_config(own, trust_remote_code=False, **options)
    except Exception as err:  # whatever a class raises at settings that do not fit
        raise ModelLoadError(f"{name}: transformers cannot build it: {type(err).__name__}: {err}") from err
    return network


def _pooling_is_optional(network_class: Any) -> bool:
    return "add_pooling_layer" in inspect.signature(network_class.__init__).parameters


def _check_runs(network: nn.Module, preprocess: Preprocess, name: str) -> None:
    """Runs a network twice on noise, and refuses one that cannot, or answers otherwise each time (masked training)."""
    width, height = preprocess.size_wh
    pixels = torch.randn((1, 3, height, width), generator=torch.Generator().manual_seed(0))
    module = ImageNetwork(network).eval()
    try:
        with inference(torch.device("cpu"), "exact"):
            one, other = module(pixels), module(pixels)
    except Exception as err:  # whatever a class raises at a size or settings that do not fit
        raise ModelLoadError(
            f"{name}: {type(network).__name__} does not run on {width}×{height} pixels: {type(err).__name__}: {err}"
        ) from err
    if one.ndim != 2 or not torch.equal(one, other):
        raise CapabilityError(
            f"{name} is no classifier or embedder: {type(network).__name__} gives {tuple(one.shape)}"
            f"{'' if one.ndim != 2 else ', and something else each time'}"
        )
