"""`timm:` names: the backbones and classifiers of timm, from its hub, a local folder, or with random weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, ModelLoadError, ModelNotFoundError
from ..extras import require
from ..models.catalog import nearest
from ..models.hub import fetching_repository, is_cached
from ..models.wrap import ModuleClassifier, ModuleEmbedder
from ..pipeline import Preprocess, choose_device
from .imagenet import imagenet_labels

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ..models.tap import Tap

_RESIZES = {"center": "shortest", "squash": "squash"}

_NOT_OF_THE_NETWORK = ("pretrained", "checkpoint", "cache_dir", "device", "dtype", "script", "export", "no_jit")
"""How options of timm's `create_model` begin that say where weights come from or go, not what the network is."""


class _TimmForward:
    """Timm's own two steps, which every model of its has."""

    def _forward(self, module: Any, tap: Tap, pixels: Tensor) -> tuple[Any, Any]:  # noqa: ARG002 - as the class above
        maps = module.forward_features(pixels)
        return module.forward_head(maps), module.forward_head(maps, pre_logits=True)


class TimmEmbedder(_TimmForward, ModuleEmbedder):
    """A timm model whose features are what its head sees, after pooling: `forward_head(…, pre_logits=True)`."""


class TimmClassifier(_TimmForward, ModuleClassifier):
    """A timm model with its class head; its features are what the head sees, `forward_head(…, pre_logits=True)`."""


def load(
    name: str,
    *,
    device: str | torch.device | None,
    speed: str,
    pretrained: bool = True,
    num_classes: int | None = None,
    data_config: dict[str, Any] | None = None,
    model_args: dict[str, Any] | None = None,
) -> TimmClassifier | TimmEmbedder:
    """Builds a model of timm with its own configuration.

    Args:
        name: an architecture with or without a tag ("resnet50.a1_in1k"), or a folder in the layout of timm's hub
            (`config.json`, `model.safetensors`).
        device: see `choose_device`.
        speed: "default", "fast", "fastest" or "exact"; see `load_model`.
        pretrained: with its weights, fetched once; False: random weights, nothing is fetched.
        num_classes: of random weights; 0: features only.
        data_config: in place of timm's own, for random weights: input_size, crop_pct, mean, std, interpolation.
        model_args: further arguments of timm's `create_model` that say what the network is, such as `global_pool`.

    Raises:
        ModelNotFoundError: another name, or the weights cannot be fetched.
        ModelLoadError: the folder is incomplete, or the transform is one that visionkit does not do.
        InputError: `num_classes` with trained weights; `model_args` that lead to other files.
    """
    timm = require("timm")
    if pretrained and num_classes is not None:
        raise InputError("num_classes= goes with pretrained=False; for classes of your own use vk.fine_tune")
    for key in model_args or {}:  # maybe those of a stranger's saved folder
        if str(key).startswith(_NOT_OF_THE_NETWORK):
            raise InputError(f"model_args has {key!r:.80}, which says nothing of the network itself: leave it out")
    folder = Path(name)
    is_folder = folder.is_dir() and not _is_known(timm, name)
    if is_folder:
        if not (folder / "config.json").is_file():
            raise ModelLoadError(f"{name} has no config.json, so it is no folder of timm's layout")
        try:
            own = {} if num_classes is None else {"num_classes": num_classes}
            network = timm.create_model(f"local-dir:{name}", pretrained=pretrained, **own, **(model_args or {}))
        except Exception as err:  # torch, safetensors and timm each raise their own for wrong weights
            raise ModelLoadError(f"timm cannot load {name}: {type(err).__name__}: {err}") from err
    else:
        network = _by_name(timm, name, pretrained, num_classes, model_args or {})
    config = data_config or timm.data.resolve_model_data_config(network)
    labels = _labels(timm, network)
    settings: dict[str, Any] = {
        "name": f"timm:{name}",
        "preprocess": _preprocess(config, name),
        "features": None,
        "device": choose_device(device),
        "speed": speed,
        "built_by": {
            "model": f"timm:{network.pretrained_cfg['architecture']}",
            "options": {
                "pretrained": False,
                "num_classes": network.num_classes,
                "model_args": _model_args(folder if is_folder else None, model_args),
                "data_config": {key: config[key] for key in sorted(config)},
            },
        },
    }
    if labels is None:
        return TimmEmbedder(network, **settings)
    return TimmClassifier(network, labels=labels, **settings)


def _is_known(timm: Any, name: str) -> bool:
    """Whether timm itself has a network of that name: no folder that happens to be called so takes its place."""
    return bool(timm.is_model(name) and ("." not in name or name in timm.list_pretrained()))


def _model_args(folder: Path | None, given: dict[str, Any] | None) -> dict[str, Any]:
    """What a network was built with beside its name: a folder's `config.json` says, or the caller."""
    own: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8")) if folder else {}
    found = {**own.get("model_args", {}), **(given or {})}
    if "global_pool" in own:
        found.setdefault("global_pool", own["global_pool"])
    found.pop("num_classes", None)
    return found


def _by_name(timm: Any, name: str, pretrained: bool, num_classes: int | None, model_args: dict[str, Any]) -> nn.Module:
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        close = nearest(name, [*timm.list_models(), *timm.list_pretrained()])
        hint = f"; did you mean {' or '.join(f'timm:{c}' for c in close)}?" if close else ""
        raise ModelNotFoundError(f"timm has no model {name!r}, nor is it a folder{hint}")
    if not pretrained:
        network: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=num_classes, **model_args)
        return network
    config = timm.get_pretrained_cfg(name, allow_unregistered=False) if name in timm.list_pretrained() else None
    if config is None:
        tags = [p for p in timm.list_pretrained(f"{architecture}*") if p.partition(".")[0] == architecture]
        known = ", ".join(tags) or "none"
        raise ModelNotFoundError(f"timm has no weights {name!r}; it has: {known}; or pretrained=False")
    repository = config.hf_hub_id if isinstance(config.hf_hub_id, str) else f"timm/{name}"
    cached = is_cached(repository, "model.safetensors")
    with fetching_repository(f"timm:{name}", repository, cached=cached):
        trained: nn.Module = timm.create_model(name, pretrained=True, **model_args)
        return trained


def _labels(timm: Any, network: Any) -> Sequence[str] | None:
    """The names of the classes: the weights' own, ImageNet's, or numbers; None without a head."""
    classes = int(network.num_classes)
    if classes == 0:
        return None
    own = network.pretrained_cfg.get("label_names")
    if own and len(set(own)) == classes:
        return [str(name) for name in own]
    subset = timm.data.infer_imagenet_subset(network)
    if classes == 1000 and subset in (None, "imagenet-1k"):
        return imagenet_labels()
    if subset is None:
        return [f"class {i}" for i in range(classes)]
    info = timm.data.ImageNetInfo(subset)
    return [f"{info.index_to_description(i)} ({info.index_to_label_name(i)})" for i in range(classes)]


def _preprocess(config: dict[str, Any], name: str) -> Preprocess:
    """Timm's data configuration as ours: its evaluation transform resizes the short side to ⌊size / crop_pct⌋."""
    resize = _RESIZES.get(config.get("crop_mode", "center"))
    channels, height, width = config["input_size"]
    shrinks = resize == "squash" and config["crop_pct"] != 1.0
    if resize is None or shrinks or channels != 3 or (height != width and resize == "shortest"):
        raise ModelLoadError(
            f"timm:{name} wants {channels}×{height}×{width} pixels with crop_mode {config.get('crop_mode')!r}, "
            f"which visionkit does not do; it does square RGB inputs with 'center', and 'squash' with crop_pct 1"
        )
    shared: dict[str, Any] = {
        "size_wh": (width, height),
        "interpolation": config["interpolation"],
        "mean": tuple(config["mean"]),
        "std": tuple(config["std"]),
    }
    if resize == "squash":
        return Preprocess(resize="squash", **shared)
    return Preprocess(resize_to=int(width / config["crop_pct"]), **shared)
